/* Mail filter (milter) for Postfix and Sendmail: judges the links of each message.
 *
 *     phishcnn-milter [--socket inet:8892@127.0.0.1] [--model FILE] [--action tag|quarantine|reject]
 *     phishcnn-milter [--model FILE] --check FILE...
 *
 * Adds a header that says what the worst link is:
 *
 *     X-PhishCNN: verdict=phishing; score=+10.286; urls=2; url=http://paypal.com.login.example.ru/
 *
 * and, when the verdict is phishing, holds or refuses the message if asked to. With --check, prints
 * for each file the header that its message would get. README.md has the rest.
 */
#include "links.h"

#include <glib.h>
#include <libmilter/mfapi.h>
#include <phishcnn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

#define HEADER "X-PhishCNN"

/* Bounds on what one message can cost. What they leave unread, the header says. */
enum { MESSAGE_MAX = 32 * 1024 * 1024, URLS_MAX = 1000 };

/* Shared by all threads; read-only once loaded. */
static phishcnn_model model;
static enum { TAG, QUARANTINE, REJECT } action = TAG;

/* One message, and the scratch memory of the connection's thread. */
struct session {
  GByteArray *message;
  guint64 unread; /* bytes behind MESSAGE_MAX */
  int forged;     /* headers of our name that the message came with */
  void *scratch;
  size_t scratch_size;
};

struct judgement {
  struct session *session;
  GHashTable *seen;
  guint urls, skipped, unscored;
  phishcnn_verdict verdict;
  float logit;
  GString *worst;
};

static struct session *session_new(void) {
  struct session *session = g_new0(struct session, 1);

  session->message = g_byte_array_new();
  session->scratch_size = phishcnn_model_scratch_size(&model);
  session->scratch = g_aligned_alloc(1, session->scratch_size, 16);
  return session;
}

static void session_reset(struct session *session) {
  g_byte_array_set_size(session->message, 0);
  session->unread = 0;
  session->forged = 0;
}

static void session_free(struct session *session) {
  g_byte_array_unref(session->message);
  g_aligned_free(session->scratch);
  g_free(session);
}

static void session_append(struct session *session, const void *bytes, size_t size) {
  size_t room = MESSAGE_MAX - session->message->len;
  size_t taken = MIN(size, room);

  g_byte_array_append(session->message, (const guint8 *)bytes, (guint)taken);
  session->unread += size - taken;
}

static void judge(void *context, const char *url, size_t size) {
  struct judgement *judgement = (struct judgement *)context;
  struct session *session = judgement->session;
  char *key = g_strndup(url, size);
  phishcnn_result result;

  if (g_hash_table_contains(judgement->seen, key)) {
    g_free(key);
    return;
  }
  if (judgement->urls == URLS_MAX) {
    judgement->skipped++;
    g_free(key);
    return;
  }
  g_hash_table_add(judgement->seen, key);
  judgement->urls++;
  if (phishcnn_score(&model, url, size, session->scratch, session->scratch_size, &result) !=
      PHISHCNN_OK) {
    judgement->unscored++;
  } else if (judgement->verdict == PHISHCNN_UNKNOWN || result.logit > judgement->logit) {
    judgement->verdict = result.verdict;
    judgement->logit = result.logit;
    g_string_truncate(judgement->worst, 0);
    g_string_append_len(judgement->worst, url, (gssize)size);
  }
}

/* What could end the value early or break the line is percent-encoded. */
static void append_url(GString *header, const GString *url) {
  const gsize most = 400;
  gsize i;

  for (i = 0; i < url->len && i < most; i++) {
    unsigned char c = (unsigned char)url->str[i];

    if (c <= ' ' || c >= 0x7f || strchr(";\"\\()", c) != NULL) {
      g_string_append_printf(header, "%%%02X", c);
    } else {
      g_string_append_c(header, (char)c);
    }
  }
  if (url->len > most) g_string_append(header, "...");
}

/* Judges the session's message; returns the verdict and the header's value. */
static phishcnn_verdict session_judge(struct session *session, GString *header) {
  struct judgement judgement = {0};

  judgement.session = session;
  judgement.seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
  judgement.verdict = PHISHCNN_UNKNOWN;
  judgement.worst = g_string_new(NULL);
  links_find((const char *)session->message->data, session->message->len, judge, &judgement);

  if (judgement.verdict == PHISHCNN_UNKNOWN) {
    g_string_append(header, "verdict=none");
  } else {
    g_string_append_printf(header, "verdict=%s; score=%+.3f", phishcnn_verdict_text(judgement.verdict),
                           (double)judgement.logit);
  }
  g_string_append_printf(header, "; urls=%u", judgement.urls);
  if (judgement.unscored > 0) g_string_append_printf(header, "; unscored=%u", judgement.unscored);
  if (judgement.skipped > 0) g_string_append_printf(header, "; skipped=%u", judgement.skipped);
  if (session->unread > 0)
    g_string_append_printf(header, "; unread=%" G_GUINT64_FORMAT, session->unread);
  if (judgement.worst->len > 0) {
    g_string_append(header, ";\n\turl=");
    append_url(header, judgement.worst);
  }
  g_hash_table_unref(judgement.seen);
  g_string_free(judgement.worst, TRUE);
  return judgement.verdict;
}

static sfsistat on_envelope(SMFICTX *milter, char **arguments) {
  struct session *session = (struct session *)smfi_getpriv(milter);

  (void)arguments;
  if (session == NULL) {
    session = session_new();
    smfi_setpriv(milter, session);
  }
  session_reset(session);
  return SMFIS_CONTINUE;
}

static sfsistat on_header(SMFICTX *milter, char *name, char *value) {
  struct session *session = (struct session *)smfi_getpriv(milter);

  session_append(session, name, strlen(name));
  session_append(session, ": ", 2);
  session_append(session, value, strlen(value));
  session_append(session, "\n", 1);
  session->forged += g_ascii_strcasecmp(name, HEADER) == 0;
  return SMFIS_CONTINUE;
}

static sfsistat on_end_of_headers(SMFICTX *milter) {
  session_append((struct session *)smfi_getpriv(milter), "\n", 1);
  return SMFIS_CONTINUE;
}

static sfsistat on_body(SMFICTX *milter, unsigned char *bytes, size_t size) {
  session_append((struct session *)smfi_getpriv(milter), bytes, size);
  return SMFIS_CONTINUE;
}

static sfsistat on_end_of_message(SMFICTX *milter) {
  struct session *session = (struct session *)smfi_getpriv(milter);
  GString *header = g_string_new(NULL);
  phishcnn_verdict verdict = session_judge(session, header);
  const char *queue_id = smfi_getsymval(milter, (char *)"i");
  sfsistat answer = SMFIS_CONTINUE;

  for (; session->forged > 0; session->forged--) {
    smfi_chgheader(milter, (char *)HEADER, session->forged, NULL);
  }
  if (smfi_addheader(milter, (char *)HEADER, header->str) != MI_SUCCESS)
    syslog(LOG_WARNING, "%s: header not added", queue_id == NULL ? "?" : queue_id);
  if (verdict == PHISHCNN_PHISHING && action == QUARANTINE) {
    smfi_quarantine(milter, (char *)"a link looks like phishing");
  } else if (verdict == PHISHCNN_PHISHING && action == REJECT) {
    smfi_setreply(milter, (char *)"550", (char *)"5.7.1",
                  (char *)"a link in this message looks like phishing");
    answer = SMFIS_REJECT;
  }
  /* Without the address: it may hold secrets. */
  syslog(LOG_INFO, "%s: %.*s", queue_id == NULL ? "?" : queue_id,
         (int)strcspn(header->str, "\n"), header->str);
  g_string_free(header, TRUE);
  g_byte_array_unref(session->message); /* connections stay open; memory need not */
  session->message = g_byte_array_new();
  return answer;
}

static sfsistat on_close(SMFICTX *milter) {
  struct session *session = (struct session *)smfi_getpriv(milter);

  if (session != NULL) session_free(session);
  smfi_setpriv(milter, NULL);
  return SMFIS_CONTINUE;
}

static int check(char **files) {
  struct session *session = session_new();
  int failed = 0;

  for (; *files != NULL; files++) {
    GString *header = g_string_new(NULL);
    GError *error = NULL;
    char *bytes;
    gsize size;

    if (g_file_get_contents(*files, &bytes, &size, &error)) {
      session_reset(session);
      session_append(session, bytes, size);
      session_judge(session, header);
      printf(HEADER ": %s\n", header->str);
      g_free(bytes);
    } else {
      fprintf(stderr, "phishcnn-milter: %s\n", error->message);
      g_error_free(error);
      failed = 1;
    }
    g_string_free(header, TRUE);
  }
  session_free(session);
  return failed;
}

static int usage(void) {
  fprintf(stderr, "usage: phishcnn-milter [--socket inet:PORT@HOST|unix:PATH] [--model FILE]\n"
                  "                       [--action tag|quarantine|reject] [--check FILE...]\n");
  return 2;
}

int main(int argc, char **argv) {
  struct smfiDesc description;
  const char *file = NULL, *socket = "inet:8892@127.0.0.1";
  char **checked = NULL;
  char item[128] = "";
  phishcnn_status status;
  int i;

  for (i = 1; i < argc && checked == NULL; i += 2) {
    if (i + 1 == argc) return usage();
    if (strcmp(argv[i], "--model") == 0) {
      file = argv[i + 1];
    } else if (strcmp(argv[i], "--socket") == 0) {
      socket = argv[i + 1];
    } else if (strcmp(argv[i], "--check") == 0) {
      checked = argv + i + 1;
    } else if (strcmp(argv[i], "--action") == 0 && strcmp(argv[i + 1], "quarantine") == 0) {
      action = QUARANTINE;
    } else if (strcmp(argv[i], "--action") == 0 && strcmp(argv[i + 1], "reject") == 0) {
      action = REJECT;
    } else if (strcmp(argv[i], "--action") != 0 || strcmp(argv[i + 1], "tag") != 0) {
      return usage();
    }
  }
  status = file == NULL ? phishcnn_model_load_embedded(&model)
                        : phishcnn_model_load_file(&model, file, item, sizeof item);
  if (status != PHISHCNN_OK) {
    fprintf(stderr, "phishcnn-milter: model: %d: %s: %s\n", (int)status,
            phishcnn_status_text(status), item);
    return 3;
  }
  links_init();
  if (checked != NULL) return check(checked);

  memset(&description, 0, sizeof description);
  description.xxfi_name = (char *)"phishcnn-milter";
  description.xxfi_version = SMFI_VERSION;
  description.xxfi_flags = SMFIF_ADDHDRS | SMFIF_CHGHDRS | SMFIF_QUARANTINE;
  description.xxfi_envfrom = on_envelope;
  description.xxfi_header = on_header;
  description.xxfi_eoh = on_end_of_headers;
  description.xxfi_body = on_body;
  description.xxfi_eom = on_end_of_message;
  description.xxfi_close = on_close;
  openlog("phishcnn-milter", LOG_PID, LOG_MAIL);
  if (smfi_setconn((char *)socket) != MI_SUCCESS || smfi_register(description) != MI_SUCCESS ||
      smfi_opensocket(1) != MI_SUCCESS) {
    fprintf(stderr, "phishcnn-milter: cannot listen on %s\n", socket);
    return 1;
  }
  return smfi_main() == MI_SUCCESS ? 0 : 1;
}
