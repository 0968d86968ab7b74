/* Prints the bits of each URL's logit, or `error NUMBER`: one URL a line of the file `urls` in the
 * current folder. First the backend. On bare metal (SCRATCH_SIZE) the model lies in flash, else it is a file. */
#include <phishcnn.h>

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static phishcnn_model model;
#ifdef SCRATCH_SIZE
extern const unsigned char model_file[], model_file_end[];
static PHISHCNN_ALIGNED unsigned char scratch[SCRATCH_SIZE];
#else
static PHISHCNN_ALIGNED unsigned char scratch[1 << 20];
#endif

static void score(const char *url, size_t size) {
  phishcnn_result result;
  unsigned long bits = 0;
  phishcnn_status status = phishcnn_score(&model, url, size, scratch, sizeof scratch, &result);

  memcpy(&bits, &result.logit, sizeof result.logit);
  if (status == PHISHCNN_OK) printf("%08lx\n", bits);
  else printf("error %d\n", (int)status);
}

int main(int argc, char **argv) {
  static char text[4096];
  phishcnn_info info;
  size_t held = 0;
  int urls = open("urls", O_RDONLY);
#ifdef SCRATCH_SIZE
  size_t size = (size_t)(model_file_end - model_file);

  (void)argc, (void)argv;
  if (phishcnn_model_load(&model, model_file, size, NULL, 0) != PHISHCNN_OK) return 1;
#else
  if (argc != 2 || phishcnn_model_load_file(&model, argv[1], NULL, 0) != PHISHCNN_OK) return 1;
#endif
  if (urls < 0 || phishcnn_model_info(&model, &info) != PHISHCNN_OK) return 1;
  printf("%.*s\n", (int)info.backend.size, info.backend.data);
  for (;;) {
    char *line = text, *end;
    long got = (long)read(urls, text + held, sizeof text - held);

    if (got <= 0) return held > 0; /* a line that does not fit, or does not end */
    held += (size_t)got;
    while ((end = memchr(line, '\n', held)) != NULL) {
      score(line, (size_t)(end - line));
      held -= (size_t)(end + 1 - line);
      line = end + 1;
    }
    memmove(text, line, held);
  }
}
