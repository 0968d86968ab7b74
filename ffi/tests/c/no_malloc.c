/* The library allocates nothing: counts every call of the allocator while it works.
 *
 *     no_malloc MODEL-FILE
 */
#include <phishcnn.h>

#include "check.h"

#include <stddef.h>
#include <string.h>

/* glibc's own names behind malloc and its family. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

static volatile long calls;

void *malloc(size_t size) {
  calls++;
  return __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
  calls++;
  return __libc_calloc(count, size);
}

void *realloc(void *memory, size_t size) {
  calls++;
  return __libc_realloc(memory, size);
}

int posix_memalign(void **memory, size_t alignment, size_t size) {
  calls++;
  *memory = __libc_memalign(alignment, size);
  return *memory == NULL;
}

int main(int argc, char **argv) {
  static phishcnn_model model;
  static PHISHCNN_ALIGNED unsigned char scratch[1 << 20]; /* enough for either model */
  static phishcnn_segment segments[PHISHCNN_EMBEDDED_MAX_SEGMENTS];
  static char path[2000];
  const char *url = "http://paypal.com.example.ru/webscr?cmd=_login";
  char hex[PHISHCNN_SHA256_SIZE];
  phishcnn_str text, value;
  phishcnn_result result;
  phishcnn_info info;
  size_t count;
  int i;

  CHECK_EQUAL(argc, 2);
  /* The counter works, through the library's way to the allocator as well as through ours. */
  free(malloc(1));
  CHECK_EQUAL(calls, 1);
  calls = 0;

  memset(path, 'p', sizeof path - 1);
  CHECK_EQUAL(phishcnn_model_load_file(&model, path, NULL, 0), PHISHCNN_FILE_UNREADABLE);
  for (i = 0; i < 2; i++) {
    CHECK_EQUAL(i == 0 ? phishcnn_model_load_file(&model, argv[1], NULL, 0)
                       : phishcnn_model_load_embedded(&model),
                PHISHCNN_OK);
    text.data = url;
    text.size = strlen(url);
    CHECK_EQUAL(phishcnn_score(&model, url, text.size, scratch, sizeof scratch, &result),
                PHISHCNN_OK);
    CHECK_EQUAL(phishcnn_score_batch(&model, &text, 1, scratch, sizeof scratch, &result),
                PHISHCNN_OK);
    CHECK_EQUAL(phishcnn_explain(&model, url, text.size, scratch, sizeof scratch, segments,
                                 PHISHCNN_EMBEDDED_MAX_SEGMENTS, &count, &result),
                PHISHCNN_OK);
    CHECK_EQUAL(phishcnn_score(&model, "", 0, scratch, sizeof scratch, &result),
                PHISHCNN_EMPTY_URL);
    CHECK_EQUAL(phishcnn_model_info(&model, &info), PHISHCNN_OK);
    CHECK_EQUAL(phishcnn_model_metadata(&model, "absent", &value), PHISHCNN_METADATA_MISSING);
    CHECK_EQUAL(phishcnn_model_sha256(&model, hex, sizeof hex), PHISHCNN_OK);
    CHECK_EQUAL(phishcnn_model_unload(&model), PHISHCNN_OK);
  }
  CHECK_EQUAL(calls, 0);
  puts("no_malloc: no call of the allocator");
  return 0;
}
