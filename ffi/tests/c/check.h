/* The smallest test harness: a failed check says where, and the program ends with 1. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition)                                                        \
  do {                                                                          \
    if (!(condition)) {                                                         \
      fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);           \
      exit(1);                                                                  \
    }                                                                           \
  } while (0)

/* Compares numbers and shows both. */
#define CHECK_EQUAL(got, want)                                                  \
  do {                                                                          \
    long long got_ = (long long)(got), want_ = (long long)(want);               \
    if (got_ != want_) {                                                        \
      fprintf(stderr, "%s:%d: %s is %lld, not %s (%lld)\n", __FILE__, __LINE__, \
              #got, got_, #want, want_);                                        \
      exit(1);                                                                  \
    }                                                                           \
  } while (0)

/* Reads a whole file into memory that is exactly as long, so that checkers see one byte too far. */
static inline unsigned char *read_file(const char *path, size_t *size) {
  FILE *file = fopen(path, "rb");
  unsigned char *bytes;
  long length;

  CHECK(file != NULL);
  CHECK(fseek(file, 0, SEEK_END) == 0);
  length = ftell(file);
  CHECK(length > 0);
  rewind(file);
  *size = (size_t)length;
  bytes = (unsigned char *)malloc(*size);
  CHECK(bytes != NULL);
  CHECK(fread(bytes, 1, *size, file) == *size);
  fclose(file);
  return bytes;
}

#endif
