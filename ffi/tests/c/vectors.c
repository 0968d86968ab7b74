/* The core's own answers, bit by bit: reads what `phishcnn-ffi-tools vectors` prints (its source
 * says how a line is built) and compares score, batch and explain with it.
 *
 *     vectors FILE
 */
#include <phishcnn.h>

#include "check.h"

#include <stdint.h>
#include <string.h>

enum { URL_MAX = 65536 * 3, MAX_SEGMENTS = 300 };

static phishcnn_model model;
static PHISHCNN_ALIGNED unsigned char scratch[1 << 20];
static char hex[2 * URL_MAX + 1];

static uint32_t bits(float value) {
  uint32_t out;

  memcpy(&out, &value, sizeof out);
  return out;
}

static void load(const char *path) {
  char item[128];

  phishcnn_model_unload(&model);
  if (strcmp(path, "-") == 0) {
    CHECK_EQUAL(phishcnn_model_load_embedded(&model), PHISHCNN_OK);
  } else {
    CHECK_EQUAL(phishcnn_model_load_file(&model, path, item, sizeof item), PHISHCNN_OK);
  }
  CHECK(phishcnn_model_scratch_size(&model) <= sizeof scratch);
  CHECK(phishcnn_model_max_segments(&model) <= MAX_SEGMENTS);
}

static void check_result(phishcnn_result got, int status, int verdict, unsigned logit,
                         unsigned probability, int truncated) {
  CHECK_EQUAL(got.status, status);
  CHECK_EQUAL(got.verdict, verdict);
  if (status == PHISHCNN_OK) {
    CHECK_EQUAL(bits(got.logit), logit);
    CHECK_EQUAL(bits(got.probability), probability);
  }
  CHECK_EQUAL(got.truncated, truncated);
}

int main(int argc, char **argv) {
  static char path[4096];
  static phishcnn_segment segments[MAX_SEGMENTS];
  FILE *file;
  int lines = 0, models = 0;

  CHECK_EQUAL(argc, 2);
  file = fopen(argv[1], "r");
  CHECK(file != NULL);
  while (fscanf(file, "%4095s", path) == 1) {
    size_t size, i, wanted, count;
    unsigned logit, probability, start, end, part, contribution;
    int status, verdict, truncated;
    char *url;
    phishcnn_str text;
    phishcnn_result result;

    if (strcmp(path, "model") == 0) {
      CHECK_EQUAL(fscanf(file, "%4095s", path), 1);
      load(path);
      models++;
      continue;
    }
    size = (size_t)strtoul(path, NULL, 10);
    CHECK(size <= URL_MAX);
    CHECK_EQUAL(fscanf(file, "%393216s %d %d %x %x %d %zu", hex, &status, &verdict, &logit,
                       &probability, &truncated, &wanted),
                7);
    /* Exactly as long as the URL, so that checkers see one byte too far. */
    url = (char *)malloc(size > 0 ? size : 1);
    CHECK(url != NULL);
    for (i = 0; i < size; i++) {
      unsigned byte;

      CHECK_EQUAL(sscanf(hex + 2 * i, "%2x", &byte), 1);
      url[i] = (char)byte;
    }

    CHECK_EQUAL(phishcnn_score(&model, url, size, scratch, sizeof scratch, &result), status);
    check_result(result, status, verdict, logit, probability, truncated);
    text.data = url;
    text.size = size;
    CHECK_EQUAL(phishcnn_score_batch(&model, &text, 1, scratch, sizeof scratch, &result), status);
    check_result(result, status, verdict, logit, probability, truncated);
    CHECK_EQUAL(phishcnn_explain(&model, url, size, scratch, sizeof scratch, segments, MAX_SEGMENTS,
                                 &count, &result),
                status);
    check_result(result, status, verdict, logit, probability, truncated);
    CHECK_EQUAL(count, wanted);
    for (i = 0; i < count; i++) {
      CHECK_EQUAL(fscanf(file, "%u %u %u %x", &start, &end, &part, &contribution), 4);
      CHECK_EQUAL(segments[i].start, start);
      CHECK_EQUAL(segments[i].end, end);
      CHECK_EQUAL(segments[i].part, part);
      CHECK_EQUAL(bits(segments[i].contribution), contribution);
    }
    free(url);
    lines++;
  }
  fclose(file);
  phishcnn_model_unload(&model);
  printf("vectors: %d answers of %d models, every bit equal\n", lines, models);
  return 0;
}
