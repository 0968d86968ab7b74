/* Scores URLs: its arguments, or the lines of standard input.
 *
 *     cc score.c $(pkg-config --cflags --libs phishcnn) -o score
 *     ./score https://example.com/ http://paypal.com.example.ru/webscr
 *     ./score --model other.safetensors < urls.txt
 *
 * Writes one line for each URL: verdict, probability, logit, URL. Exits with 1 when a line was no
 * URL, 2 for a wrong use, 3 when the model is unusable.
 */
#include <phishcnn.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Enough for every URL that gets a score, its end of line, and one more to notice a longer one. */
#define LINE_SIZE (65536 + 3)

static phishcnn_model model;
static int failed;

static void score(const char *url, size_t size, void *scratch, size_t scratch_size) {
  phishcnn_result result;
  phishcnn_status status = phishcnn_score(&model, url, size, scratch, scratch_size, &result);

  if (status != PHISHCNN_OK) {
    printf("error %d: %s\n", (int)status, phishcnn_status_text(status));
    failed = 1;
    return;
  }
  printf("%-10s  %.4f  %+8.3f  %.*s\n", phishcnn_verdict_text(result.verdict),
         (double)result.probability, (double)result.logit, (int)size, url);
}

/* Reads a line without its end; what does not fit is read and dropped, since it is no URL. */
static int read_line(char *line, size_t *size) {
  int c;

  *size = 0;
  while ((c = getchar()) != EOF && c != '\n') {
    if (*size < LINE_SIZE) line[(*size)++] = (char)c;
  }
  if (c == EOF && *size == 0) return 0;
  if (*size > 0 && line[*size - 1] == '\r') --*size;
  return 1;
}

int main(int argc, char **argv) {
  static char line[LINE_SIZE];
  char item[128];
  phishcnn_status status;
  size_t scratch_size, size;
  void *memory, *scratch;
  int first = 1;

  if (argc > 1 && strcmp(argv[1], "--model") == 0) {
    if (argc < 3) {
      fprintf(stderr, "usage: score [--model FILE] [URL...]\n");
      return 2;
    }
    status = phishcnn_model_load_file(&model, argv[2], item, sizeof item);
    first = 3;
  } else {
    item[0] = '\0';
    status = phishcnn_model_load_embedded(&model);
  }
  if (status != PHISHCNN_OK) {
    fprintf(stderr, "model: %d: %s: %s\n", (int)status, phishcnn_status_text(status), item);
    return 3;
  }

  /* C99 has no aligned_alloc: ask for 15 bytes more and round up. */
  scratch_size = phishcnn_model_scratch_size(&model);
  memory = malloc(scratch_size + 15);
  if (memory == NULL) return 3;
  scratch = (char *)memory + (16 - (size_t)memory % 16) % 16;

  if (first < argc) {
    for (; first < argc; first++) score(argv[first], strlen(argv[first]), scratch, scratch_size);
  } else {
    while (read_line(line, &size)) score(line, size, scratch, scratch_size);
  }
  free(memory);
  phishcnn_model_unload(&model);
  return failed;
}
