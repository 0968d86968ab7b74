/* External ACL helper of Squid: answers OK for a phishing URL, ERR for another.
 *
 *     squid-phishcnn [--model FILE] [--from suspicious|phishing]
 *
 * Reads lines `[CHANNEL ]URL …` and answers each with one line, in order. README.md has the lines of
 * squid.conf. A line that gets no score is answered with BH, and Squid denies the request.
 */
#include <phishcnn.h>

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A channel number, the longest URL that gets a score, and some more to notice a longer one. */
#define LINE_SIZE (32 + 65536 + 32)

static phishcnn_model model;
static phishcnn_segment *segments;

/* Reads a line without its end. What does not fit is read and dropped: it is no URL any more. */
static int read_line(char *line, size_t *size) {
  int c;

  *size = 0;
  while ((c = getchar()) != EOF && c != '\n') {
    if (*size < LINE_SIZE) line[(*size)++] = (char)c;
  }
  return c != EOF; /* a last line without an end is half a request */
}

/* Takes the next word off the front of a line. */
static phishcnn_str next_word(phishcnn_str *line) {
  phishcnn_str word;
  const char *space;

  while (line->size > 0 && *line->data == ' ') line->data++, line->size--;
  space = line->size > 0 ? (const char *)memchr(line->data, ' ', line->size) : NULL;
  word.data = line->data;
  word.size = space == NULL ? line->size : (size_t)(space - line->data);
  line->data += word.size;
  line->size -= word.size;
  return word;
}

static int is_number(phishcnn_str word) {
  size_t i;

  for (i = 0; i < word.size; i++) {
    if (!isdigit((unsigned char)word.data[i])) return 0;
  }
  return word.size > 0;
}

/* What a quoted value may not hold is percent-encoded; long pieces are cut, and end in "...". */
static void print_piece(const char *text, size_t size) {
  const size_t most = 80;
  size_t i;

  for (i = 0; i < size && i < most; i++) {
    unsigned char c = (unsigned char)text[i];

    if (c <= ' ' || c >= 0x7f || strchr("\"\\<>&'", c) != NULL) {
      printf("%%%02X", c);
    } else {
      putchar(c);
    }
  }
  if (size > most) printf("...");
}

/* The reason that the error page shows. Explaining costs one scoring for each piece of the URL; only
 * the few that are denied pay it. */
static void print_reason(phishcnn_str url, void *scratch, size_t scratch_size) {
  phishcnn_result result;
  size_t count, i, worst = 0;

  phishcnn_explain(&model, url.data, url.size, scratch, scratch_size, segments,
                   phishcnn_model_max_segments(&model), &count, &result);
  printf("%s, logit %+.2f", phishcnn_verdict_text(result.verdict), (double)result.logit);
  if (count == 0) return;
  for (i = 1; i < count; i++) {
    if (segments[i].contribution > segments[worst].contribution) worst = i;
  }
  printf(", mostly for its %s ", phishcnn_part_text(segments[worst].part));
  print_piece(url.data + segments[worst].start, segments[worst].end - segments[worst].start);
}

static void answer(phishcnn_str line, phishcnn_verdict from, void *scratch, size_t scratch_size) {
  phishcnn_str url = next_word(&line);
  phishcnn_result result;
  phishcnn_status status;

  /* With concurrency, a channel's number comes first and goes back first. No URL is a number. */
  if (is_number(url)) {
    printf("%.*s ", (int)url.size, url.data);
    url = next_word(&line);
  }
  status = phishcnn_score(&model, url.data, url.size, scratch, scratch_size, &result);
  if (status != PHISHCNN_OK) {
    printf("BH message=\"phishcnn %d: %s\"\n", (int)status, phishcnn_status_text(status));
  } else if (result.verdict >= from) {
    printf("OK log=%s:%+.2f message=\"", phishcnn_verdict_text(result.verdict),
           (double)result.logit);
    print_reason(url, scratch, scratch_size);
    printf("\"\n");
  } else {
    printf("ERR\n");
  }
}

static int usage(void) {
  fprintf(stderr, "usage: squid-phishcnn [--model FILE] [--from suspicious|phishing]\n");
  return 2;
}

int main(int argc, char **argv) {
  static char line[LINE_SIZE];
  const char *file = NULL;
  phishcnn_verdict from = PHISHCNN_PHISHING;
  phishcnn_status status;
  char item[128] = "";
  size_t scratch_size;
  char *memory, *scratch;
  phishcnn_str text;
  int i;

  for (i = 1; i < argc; i += 2) {
    if (i + 1 == argc) return usage();
    if (strcmp(argv[i], "--model") == 0) {
      file = argv[i + 1];
    } else if (strcmp(argv[i], "--from") == 0 && strcmp(argv[i + 1], "suspicious") == 0) {
      from = PHISHCNN_SUSPICIOUS;
    } else if (strcmp(argv[i], "--from") != 0 || strcmp(argv[i + 1], "phishing") != 0) {
      return usage();
    }
  }
  status = file == NULL ? phishcnn_model_load_embedded(&model)
                        : phishcnn_model_load_file(&model, file, item, sizeof item);
  if (status != PHISHCNN_OK) {
    fprintf(stderr, "squid-phishcnn: model: %d: %s: %s\n", (int)status,
            phishcnn_status_text(status), item);
    return 3;
  }
  /* C99 has no aligned_alloc: ask for 15 bytes more and round up. */
  scratch_size = phishcnn_model_scratch_size(&model);
  memory = (char *)malloc(scratch_size + 15);
  segments = (phishcnn_segment *)malloc(phishcnn_model_max_segments(&model) * sizeof *segments);
  if (memory == NULL || segments == NULL) return 3;
  scratch = memory + (16 - (size_t)memory % 16) % 16;

  text.data = line;
  while (read_line(line, &text.size)) {
    answer(text, from, scratch, scratch_size);
    fflush(stdout);
  }
  free(segments);
  free(memory);
  phishcnn_model_unload(&model);
  return 0;
}
