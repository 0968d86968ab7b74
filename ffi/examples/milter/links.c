/* MIME is GMime's work and HTML libxml2's: both have read malformed mail for decades. */
#include "links.h"

#include <gmime/gmime.h>
#include <libxml/HTMLparser.h>
#include <libxml/parserInternals.h>
#include <string.h>

struct reader {
  links_found *found;
  void *context;
  GString *text; /* an HTML part's visible text */
};

/* Bytes at the start of text that open an address; 0 when it does not. */
static size_t opening(const char *text, size_t size) {
  static const char *const openings[] = {"http://", "https://", "www."};
  size_t i;

  for (i = 0; i < sizeof openings / sizeof openings[0]; i++) {
    size_t length = strlen(openings[i]);

    if (size > length && g_ascii_strncasecmp(text, openings[i], length) == 0) return length;
  }
  return 0;
}

/* Closing brackets belong to an address when it has the opening one: (see http://a.example/b(c)). */
static gboolean ends_sentence(const char *url, size_t size) {
  char last = url[size - 1];

  if (strchr(".,;:!?'*_|", last) != NULL) return TRUE;
  if (last == ')') return memchr(url, '(', size) == NULL;
  if (last == ']') return memchr(url, '[', size) == NULL;
  if (last == '}') return memchr(url, '{', size) == NULL;
  return FALSE;
}

/* What mail programs make a link of in plain text. */
static void read_text(const struct reader *reader, const char *text, size_t size) {
  size_t at = 0;

  while (at < size) {
    size_t opened = opening(text + at, size - at), end;

    /* "awww.example" is no address, "http" may stand behind anything. */
    if (opened == 4 && at > 0 && (g_ascii_isalnum(text[at - 1]) || strchr(".@-_/", text[at - 1])))
      opened = 0;
    if (opened == 0) {
      at++;
      continue;
    }
    for (end = at + opened; end < size; end++) {
      unsigned char c = (unsigned char)text[end];

      if (c <= ' ' || c == 0x7f || c == '"' || c == '<' || c == '>' || c == '`') break;
    }
    size_t length = end - at;
    while (length > opened && ends_sentence(text + at, length)) length--;
    if (length > opened) reader->found(reader->context, text + at, length);
    at = end;
  }
}

/* A link as browsers follow it: without white space around it, tabs and line ends in it. */
static void read_link(const struct reader *reader, const char *value) {
  GString *url = g_string_new(NULL);
  const char *start = value;

  while (*start != '\0' && (unsigned char)*start <= ' ') start++;
  for (; *start != '\0'; start++) {
    if (strchr("\t\r\n", *start) == NULL) g_string_append_c(url, *start);
  }
  while (url->len > 0 && (unsigned char)url->str[url->len - 1] <= ' ') g_string_truncate(url, url->len - 1);
  /* Browsers take http:\\host and http:host as well. */
  if (g_ascii_strncasecmp(url->str, "http:", 5) == 0 || g_ascii_strncasecmp(url->str, "https:", 6) == 0)
    reader->found(reader->context, url->str, url->len);
  g_string_free(url, TRUE);
}

static void on_element(void *context, const xmlChar *name, const xmlChar **attributes) {
  const struct reader *reader = (const struct reader *)context;

  g_string_append_c(reader->text, ' ');
  (void)name;
  for (; attributes != NULL && attributes[0] != NULL; attributes += 2) {
    const char *key = (const char *)attributes[0];

    /* Where a click leads; images are not clicked. */
    if (attributes[1] != NULL && (strcmp(key, "href") == 0 || strcmp(key, "action") == 0 ||
                                  strcmp(key, "formaction") == 0))
      read_link(reader, (const char *)attributes[1]);
  }
}

static void on_end(void *context, const xmlChar *name) {
  (void)name;
  g_string_append_c(((const struct reader *)context)->text, ' ');
}

static void on_text(void *context, const xmlChar *text, int size) {
  g_string_append_len(((const struct reader *)context)->text, (const char *)text, size);
}

static void read_html(struct reader *reader, const char *html, size_t size) {
  htmlParserCtxtPtr parser = htmlCreateMemoryParserCtxt(html, (int)size);

  if (parser == NULL) return; /* an empty part */
  reader->text = g_string_new(NULL);
  /* Events alone: no tree is built. */
  memset(parser->sax, 0, sizeof *parser->sax);
  parser->sax->startElement = on_element;
  parser->sax->endElement = on_end;
  parser->sax->characters = on_text;
  parser->sax->ignorableWhitespace = on_text;
  parser->userData = reader;
  /* The text is UTF-8 by now, whatever its <meta> says. */
  htmlCtxtUseOptions(parser, HTML_PARSE_RECOVER | HTML_PARSE_NONET | HTML_PARSE_IGNORE_ENC);
  xmlSwitchEncoding(parser, XML_CHAR_ENCODING_UTF8);
  htmlParseDocument(parser);
  htmlFreeParserCtxt(parser);
  read_text(reader, reader->text->str, reader->text->len);
  g_string_free(reader->text, TRUE);
}

/* A part's bytes in UTF-8, without its transfer encoding. */
static GByteArray *decode(GMimePart *part) {
  GMimeDataWrapper *content = g_mime_part_get_content(part);
  const char *charset = g_mime_object_get_content_type_parameter(GMIME_OBJECT(part), "charset");
  GByteArray *bytes = g_byte_array_new();
  GMimeStream *memory = g_mime_stream_mem_new_with_byte_array(bytes);
  GMimeStream *stream = g_mime_stream_filter_new(memory);
  GMimeFilter *filter = charset == NULL ? NULL : g_mime_filter_charset_new(charset, "utf-8");
  guint i, kept = 0;

  g_mime_stream_mem_set_owner(GMIME_STREAM_MEM(memory), FALSE);
  /* An unknown character set is read as it is: addresses are ASCII in most. */
  if (filter != NULL) {
    g_mime_stream_filter_add(GMIME_STREAM_FILTER(stream), filter);
    g_object_unref(filter);
  }
  if (content != NULL) g_mime_data_wrapper_write_to_stream(content, stream);
  g_mime_stream_flush(stream);
  g_object_unref(stream);
  g_object_unref(memory);
  /* Mail programs skip NUL; nothing shall hide behind one. */
  for (i = 0; i < bytes->len; i++) {
    if (bytes->data[i] != '\0') bytes->data[kept++] = bytes->data[i];
  }
  g_byte_array_set_size(bytes, kept);
  return bytes;
}

static void read_part(struct reader *reader, GMimePart *part) {
  GMimeContentType *type = g_mime_object_get_content_type(GMIME_OBJECT(part));
  GByteArray *bytes;

  if (!g_mime_content_type_is_type(type, "text", "*")) return;
  bytes = decode(part);
  if (g_mime_content_type_is_type(type, "text", "html")) {
    read_html(reader, (const char *)bytes->data, bytes->len);
  } else {
    read_text(reader, (const char *)bytes->data, bytes->len);
  }
  g_byte_array_unref(bytes);
}

static void no_error(void *context, const char *format, ...) {
  (void)context;
  (void)format;
}

void links_init(void) {
  g_mime_init();
  xmlInitParser();
  xmlSetGenericErrorFunc(NULL, no_error);
}

void links_find(const char *message, size_t size, links_found *found, void *context) {
  struct reader reader = {found, context, NULL};
  GMimeStream *stream;
  GMimeParser *parser;
  GMimeMessage *parsed;

  if (size == 0) return;
  stream = g_mime_stream_mem_new_with_buffer(message, size);
  parser = g_mime_parser_new_with_stream(stream);
  parsed = g_mime_parser_construct_message(parser, NULL);
  g_object_unref(parser);
  g_object_unref(stream);
  if (parsed == NULL) return;
  if (g_mime_message_get_mime_part(parsed) != NULL) {
    GMimePartIter *part = g_mime_part_iter_new(GMIME_OBJECT(parsed));

    do {
      GMimeObject *current = g_mime_part_iter_get_current(part);

      if (GMIME_IS_PART(current)) read_part(&reader, GMIME_PART(current));
    } while (g_mime_part_iter_next(part));
    g_mime_part_iter_free(part);
  }
  g_object_unref(parsed);
}
