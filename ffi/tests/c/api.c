/* Every function, and every way of using it wrongly. Compiled as C99 and as C++17.
 *
 *     api FOLDER-OF-VECTORS EMPTY-FOLDER
 */
#include <phishcnn.h>

#include "check.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#define PHISH "http://paypal.com.secure-login.account-verify.ru/webscr?cmd=_login"

static phishcnn_model model;
static PHISHCNN_ALIGNED unsigned char scratch[PHISHCNN_EMBEDDED_SCRATCH_SIZE + 16];
enum { SCRATCH = PHISHCNN_EMBEDDED_SCRATCH_SIZE };

static void expect_no_score(phishcnn_result result, phishcnn_status status) {
  CHECK_EQUAL(result.status, status);
  CHECK_EQUAL(result.verdict, PHISHCNN_UNKNOWN);
  CHECK(isnan(result.logit));
  CHECK(isnan(result.probability));
  CHECK(!result.truncated);
}

/* A result that no function would write. */
static phishcnn_result stale(void) {
  phishcnn_result result;

  memset(&result, 0x55, sizeof result);
  result.truncated = true;
  return result;
}

static void versions(void) {
  char text[32];

  CHECK(strcmp(phishcnn_version(), PHISHCNN_VERSION) == 0);
  CHECK_EQUAL(phishcnn_version_number(), PHISHCNN_VERSION_NUMBER);
  snprintf(text, sizeof text, "%d.%d.%d", PHISHCNN_VERSION_MAJOR, PHISHCNN_VERSION_MINOR,
           PHISHCNN_VERSION_PATCH);
  CHECK(strcmp(text, PHISHCNN_VERSION) == 0);
  CHECK_EQUAL(PHISHCNN_VERSION_NUMBER, PHISHCNN_VERSION_MAJOR * 1000000 +
                                         PHISHCNN_VERSION_MINOR * 1000 + PHISHCNN_VERSION_PATCH);
}

static void texts(void) {
  int number, known = 0;

  CHECK(strcmp(phishcnn_status_text(PHISHCNN_OK), "ok") == 0);
  CHECK(strcmp(phishcnn_status_text(PHISHCNN_EMPTY_URL), "empty URL") == 0);
  CHECK(strcmp(phishcnn_status_text(PHISHCNN_INTERNAL), "internal error") == 0);
  for (number = -1000; number <= 2000; number++) {
    const char *text = phishcnn_status_text(number);

    CHECK(text[0] != '\0');
    known += strcmp(text, "unknown status") != 0;
  }
  CHECK(known >= 26);
  CHECK(strcmp(phishcnn_status_text(INT32_MIN), "unknown status") == 0);
  CHECK(strcmp(phishcnn_status_text(INT32_MAX), "unknown status") == 0);
  /* 201 in its low 16 bits. */
  CHECK(strcmp(phishcnn_status_text(65536 + 201), "unknown status") == 0);

  CHECK(strcmp(phishcnn_verdict_text(PHISHCNN_BENIGN), "benign") == 0);
  CHECK(strcmp(phishcnn_verdict_text(PHISHCNN_SUSPICIOUS), "suspicious") == 0);
  CHECK(strcmp(phishcnn_verdict_text(PHISHCNN_PHISHING), "phishing") == 0);
  CHECK(strcmp(phishcnn_verdict_text(PHISHCNN_UNKNOWN), "unknown") == 0);
  CHECK(strcmp(phishcnn_verdict_text(3), "unknown") == 0);
  CHECK(strcmp(phishcnn_part_text(PHISHCNN_PART_SCHEME), "scheme") == 0);
  CHECK(strcmp(phishcnn_part_text(PHISHCNN_PART_FRAGMENT), "fragment") == 0);
  CHECK(strcmp(phishcnn_part_text(9), "unknown") == 0);
  CHECK(strcmp(phishcnn_part_text(255), "unknown") == 0);
}

static void without_a_model(void) {
  static phishcnn_model zeroed;
  phishcnn_model *nothing[2];
  phishcnn_status expected[2] = {PHISHCNN_NULL_POINTER, PHISHCNN_NOT_LOADED};
  int i;

  nothing[0] = NULL;
  nothing[1] = &zeroed;
  for (i = 0; i < 2; i++) {
    phishcnn_result results[2];
    phishcnn_str urls[2] = {{"a.com", 5}, {"b.com", 5}};
    phishcnn_segment segment;
    phishcnn_info info;
    phishcnn_str value = {"x", 1};
    phishcnn_verdict verdict = PHISHCNN_BENIGN;
    float probability = 0.0F;
    char hex[PHISHCNN_SHA256_SIZE] = "x";
    size_t count = 7;

    results[0] = results[1] = stale();
    CHECK_EQUAL(phishcnn_model_scratch_size(nothing[i]), 0);
    CHECK_EQUAL(phishcnn_model_max_segments(nothing[i]), 0);
    CHECK_EQUAL(phishcnn_model_unload(nothing[i]), expected[i]);
    CHECK_EQUAL(phishcnn_model_info(nothing[i], &info), expected[i]);
    CHECK_EQUAL(phishcnn_model_metadata(nothing[i], "phishcnn.name", &value), expected[i]);
    CHECK_EQUAL(value.size, 0);
    CHECK_EQUAL(phishcnn_model_sha256(nothing[i], hex, sizeof hex), expected[i]);
    CHECK_EQUAL(hex[0], 'x');
    CHECK_EQUAL(phishcnn_judge(nothing[i], 1.0F, &verdict), expected[i]);
    CHECK_EQUAL(verdict, PHISHCNN_UNKNOWN);
    CHECK_EQUAL(phishcnn_probability(nothing[i], 1.0F, 0.5F, &probability), expected[i]);
    CHECK(isnan(probability));
    CHECK_EQUAL(phishcnn_score(nothing[i], "a.com", 5, scratch, SCRATCH, &results[0]), expected[i]);
    expect_no_score(results[0], expected[i]);
    results[0] = stale();
    CHECK_EQUAL(phishcnn_score_batch(nothing[i], urls, 2, scratch, SCRATCH, results), expected[i]);
    expect_no_score(results[0], expected[i]);
    expect_no_score(results[1], expected[i]);
    results[0] = stale();
    CHECK_EQUAL(phishcnn_explain(nothing[i], "a.com", 5, scratch, SCRATCH, &segment, 1, &count,
                                 &results[0]),
                expected[i]);
    CHECK_EQUAL(count, 0);
    expect_no_score(results[0], expected[i]);
  }
}

static void loading(const char *vectors, const char *empty) {
  static phishcnn_model other;
  char path[4096], item[128], tiny[4];
  size_t size, cut;
  unsigned char *file, *shifted;
  phishcnn_status status;

  snprintf(path, sizeof path, "%s/url-bytes.safetensors", vectors);
  file = read_file(path, &size);

  strcpy(item, "stale");
  CHECK_EQUAL(phishcnn_model_load(&other, file, size, item, sizeof item), PHISHCNN_OK);
  CHECK_EQUAL(item[0], '\0');
  CHECK_EQUAL(phishcnn_model_load(&other, file, size, NULL, 0), PHISHCNN_OK);
  CHECK_EQUAL(phishcnn_model_unload(&other), PHISHCNN_OK);
  CHECK_EQUAL(phishcnn_model_unload(&other), PHISHCNN_NOT_LOADED);

  /* Weights are read at any alignment. */
  shifted = (unsigned char *)malloc(size + 1);
  CHECK(shifted != NULL);
  memcpy(shifted + 1, file, size);
  CHECK_EQUAL(phishcnn_model_load(&other, shifted + 1, size, NULL, 0), PHISHCNN_OK);
  free(shifted);

  /* NULL, misaligned, short, broken; each leaves no model behind. */
  CHECK_EQUAL(phishcnn_model_load(NULL, file, size, item, sizeof item), PHISHCNN_NULL_POINTER);
  CHECK_EQUAL(phishcnn_model_load((phishcnn_model *)((char *)&other + 1), file, size, NULL, 0),
              PHISHCNN_MISALIGNED);
  CHECK_EQUAL(phishcnn_model_load(&other, NULL, size, NULL, 0), PHISHCNN_NULL_POINTER);
  CHECK_EQUAL(phishcnn_model_scratch_size(&other), 0);
  CHECK_EQUAL(phishcnn_model_load(&other, file, 0, NULL, 0), PHISHCNN_NOT_SAFETENSORS);
  CHECK_EQUAL(phishcnn_model_load(&other, file, SIZE_MAX, NULL, 0), PHISHCNN_NOT_SAFETENSORS);
  for (cut = 0; cut < size; cut += 97) {
    status = phishcnn_model_load(&other, file, cut, item, sizeof item);
    CHECK(status >= 101 && status <= 108);
    CHECK_EQUAL(phishcnn_model_unload(&other), PHISHCNN_NOT_LOADED);
  }
  /* The item to blame, whole and cut. */
  {
    static const char broken[] = "\x62\0\0\0\0\0\0\0"
                                 "{\"weight\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[0,2]}}"
                                 "                                                     ";

    CHECK_EQUAL(phishcnn_model_load(&other, broken, 8 + 98, item, sizeof item),
                PHISHCNN_UNSUPPORTED);
    CHECK(strcmp(item, "weight") == 0);
    memset(tiny, 'x', sizeof tiny);
    CHECK_EQUAL(phishcnn_model_load(&other, broken, 8 + 98, tiny, 3), PHISHCNN_UNSUPPORTED);
    CHECK(memcmp(tiny, "we\0x", 4) == 0);
  }

  /* From a file. */
  strcpy(item, "stale");
  CHECK_EQUAL(phishcnn_model_load_file(&other, path, item, sizeof item), PHISHCNN_OK);
  CHECK_EQUAL(item[0], '\0');
  CHECK(phishcnn_model_scratch_size(&other) > 0);
  CHECK_EQUAL(phishcnn_model_unload(&other), PHISHCNN_OK);
  CHECK_EQUAL(phishcnn_model_load_file(&other, NULL, NULL, 0), PHISHCNN_NULL_POINTER);
  CHECK_EQUAL(phishcnn_model_load_file(NULL, path, NULL, 0), PHISHCNN_NULL_POINTER);
  CHECK_EQUAL(phishcnn_model_load_file((phishcnn_model *)((char *)&other + 4), path, NULL, 0),
              PHISHCNN_MISALIGNED);
  CHECK_EQUAL(phishcnn_model_load_file(&other, vectors, NULL, 0), PHISHCNN_FILE_UNREADABLE);
  CHECK_EQUAL(phishcnn_model_load_file(&other, "", NULL, 0), PHISHCNN_FILE_UNREADABLE);
  snprintf(path, sizeof path, "%s/absent", empty);
  CHECK_EQUAL(phishcnn_model_load_file(&other, path, NULL, 0), PHISHCNN_FILE_UNREADABLE);
  snprintf(path, sizeof path, "%s/empty", empty);
  fclose(fopen(path, "wb"));
  CHECK_EQUAL(phishcnn_model_load_file(&other, path, NULL, 0), PHISHCNN_NOT_SAFETENSORS);
  snprintf(path, sizeof path, "%s/url-bytes.json", vectors);
  CHECK_EQUAL(phishcnn_model_load_file(&other, path, item, sizeof item), PHISHCNN_NOT_SAFETENSORS);
  memset(path, 'p', sizeof path - 1);
  path[sizeof path - 1] = '\0';
  CHECK_EQUAL(phishcnn_model_load_file(&other, path, NULL, 0), PHISHCNN_FILE_UNREADABLE);

  CHECK_EQUAL(phishcnn_model_load_embedded(NULL), PHISHCNN_NULL_POINTER);
  CHECK_EQUAL(phishcnn_model_load_embedded((phishcnn_model *)((char *)&other + 1)),
              PHISHCNN_MISALIGNED);
  free(file);
}

static int same(phishcnn_str text, const char *want) {
  return text.size == strlen(want) && memcmp(text.data, want, text.size) == 0;
}

static void describing(void) {
  phishcnn_info info;
  phishcnn_str value;
  phishcnn_verdict verdict;
  char hex[PHISHCNN_SHA256_SIZE];
  float even, rare;

  CHECK_EQUAL(phishcnn_model_scratch_size(&model), PHISHCNN_EMBEDDED_SCRATCH_SIZE);
  CHECK_EQUAL(phishcnn_model_max_segments(&model), PHISHCNN_EMBEDDED_MAX_SEGMENTS);
  CHECK_EQUAL(phishcnn_model_info(&model, &info), PHISHCNN_OK);
  CHECK(same(info.name, "phishcnn-compact"));
  CHECK(info.version.size >= 5);
  CHECK(info.input.size > 11 && memcmp(info.input.data, "url-bytes/1", 11) == 0);
  CHECK(info.layers.size > 6 && memcmp(info.layers.data, "embed ", 6) == 0);
  CHECK(info.backend.size > 0);
  CHECK(info.file_size > info.parameters);
  CHECK_EQUAL(info.scratch_size, PHISHCNN_EMBEDDED_SCRATCH_SIZE);
  CHECK_EQUAL(info.max_segments, PHISHCNN_EMBEDDED_MAX_SEGMENTS);
  CHECK(info.phishing_threshold >= info.suspicious_threshold);
  CHECK(info.calibration_a > 0.0F);
  CHECK_EQUAL(phishcnn_model_info(&model, NULL), PHISHCNN_NULL_POINTER);
  CHECK_EQUAL(phishcnn_model_info(&model, (phishcnn_info *)((char *)&info + 1)),
              PHISHCNN_MISALIGNED);

  CHECK_EQUAL(phishcnn_model_metadata(&model, "phishcnn.name", &value), PHISHCNN_OK);
  CHECK(same(value, "phishcnn-compact"));
  CHECK_EQUAL(phishcnn_model_metadata(&model, "phishcnn.nam", &value), PHISHCNN_METADATA_MISSING);
  CHECK_EQUAL(value.size, 0);
  CHECK_EQUAL(phishcnn_model_metadata(&model, NULL, &value), PHISHCNN_NULL_POINTER);
  CHECK_EQUAL(phishcnn_model_metadata(&model, "phishcnn.name", NULL), PHISHCNN_NULL_POINTER);

  CHECK_EQUAL(phishcnn_model_sha256(&model, hex, sizeof hex), PHISHCNN_OK);
  CHECK(strcmp(hex, PHISHCNN_EMBEDDED_SHA256) == 0);
  CHECK_EQUAL(phishcnn_model_sha256(&model, hex, sizeof hex - 1), PHISHCNN_OUTPUT_TOO_SMALL);
  CHECK_EQUAL(phishcnn_model_sha256(&model, NULL, sizeof hex), PHISHCNN_NULL_POINTER);

  CHECK_EQUAL(phishcnn_judge(&model, info.phishing_threshold, &verdict), PHISHCNN_OK);
  CHECK_EQUAL(verdict, PHISHCNN_PHISHING);
  CHECK_EQUAL(phishcnn_judge(&model, nextafterf(info.phishing_threshold, -1e9F), &verdict),
              PHISHCNN_OK);
  CHECK_EQUAL(verdict, PHISHCNN_SUSPICIOUS);
  CHECK_EQUAL(phishcnn_judge(&model, nextafterf(info.suspicious_threshold, -1e9F), &verdict),
              PHISHCNN_OK);
  CHECK_EQUAL(verdict, PHISHCNN_BENIGN);
  CHECK_EQUAL(phishcnn_judge(&model, nanf(""), &verdict), PHISHCNN_BAD_VALUE);
  CHECK_EQUAL(verdict, PHISHCNN_UNKNOWN);
  CHECK_EQUAL(phishcnn_judge(&model, INFINITY, &verdict), PHISHCNN_OK);
  CHECK_EQUAL(verdict, PHISHCNN_PHISHING);
  CHECK_EQUAL(phishcnn_judge(&model, 0.0F, NULL), PHISHCNN_NULL_POINTER);

  CHECK_EQUAL(phishcnn_probability(&model, 1.0F, 0.5F, &even), PHISHCNN_OK);
  CHECK(fabs((double)even -
             1.0 / (1.0 + exp(-(double)info.calibration_a - (double)info.calibration_b))) < 1e-3);
  CHECK_EQUAL(phishcnn_probability(&model, 1.0F, 0.001F, &rare), PHISHCNN_OK);
  CHECK(fabs((double)rare - 1.0 / (1.0 + exp(-(double)info.calibration_a -
                                             (double)info.calibration_b - log(0.001 / 0.999)))) <
        1e-3);
  {
    const float bad[] = {0.0F, 1.0F, -0.5F, 1.5F, nanf(""), INFINITY};
    size_t i;

    for (i = 0; i < sizeof bad / sizeof bad[0]; i++) {
      CHECK_EQUAL(phishcnn_probability(&model, 1.0F, bad[i], &rare), PHISHCNN_BAD_VALUE);
      CHECK(isnan(rare));
    }
  }
  CHECK_EQUAL(phishcnn_probability(&model, nanf(""), 0.5F, &rare), PHISHCNN_BAD_VALUE);
  CHECK_EQUAL(phishcnn_probability(&model, 1.0F, 0.5F, NULL), PHISHCNN_NULL_POINTER);
}

static void scoring(void) {
  static char long_url[65537];
  phishcnn_result result;
  size_t shift;

  CHECK_EQUAL(phishcnn_score(&model, PHISH, strlen(PHISH), scratch, SCRATCH, &result), PHISHCNN_OK);
  CHECK_EQUAL(result.status, PHISHCNN_OK);
  CHECK_EQUAL(result.verdict, PHISHCNN_PHISHING);
  CHECK(result.probability > 0.9F && result.probability <= 1.0F);
  CHECK(!result.truncated);

  memset(long_url, 'a', sizeof long_url);
  CHECK_EQUAL(phishcnn_score(&model, long_url, 65536, scratch, SCRATCH, &result), PHISHCNN_OK);
  CHECK(result.truncated);
  result = stale();
  CHECK_EQUAL(phishcnn_score(&model, long_url, 65537, scratch, SCRATCH, &result),
              PHISHCNN_URL_TOO_LONG);
  expect_no_score(result, PHISHCNN_URL_TOO_LONG);
  CHECK_EQUAL(phishcnn_score(&model, long_url, SIZE_MAX, scratch, SCRATCH, &result),
              PHISHCNN_URL_TOO_LONG);
  CHECK_EQUAL(phishcnn_score(&model, "", 0, scratch, SCRATCH, &result), PHISHCNN_EMPTY_URL);
  CHECK_EQUAL(phishcnn_score(&model, NULL, 0, scratch, SCRATCH, &result), PHISHCNN_EMPTY_URL);
  CHECK_EQUAL(phishcnn_score(&model, " \t\r\n", 4, scratch, SCRATCH, &result), PHISHCNN_EMPTY_URL);
  CHECK_EQUAL(phishcnn_score(&model, "\0\xff", 2, scratch, SCRATCH, &result), PHISHCNN_OK);
  CHECK_EQUAL(phishcnn_score(&model, NULL, 1, scratch, SCRATCH, &result), PHISHCNN_NULL_POINTER);
  expect_no_score(result, PHISHCNN_NULL_POINTER);

  CHECK_EQUAL(phishcnn_score(&model, "a.com", 5, NULL, SCRATCH, &result), PHISHCNN_NULL_POINTER);
  CHECK_EQUAL(phishcnn_score(&model, "a.com", 5, scratch, 0, &result), PHISHCNN_SCRATCH_TOO_SMALL);
  CHECK_EQUAL(phishcnn_score(&model, "a.com", 5, scratch, SCRATCH - 1, &result),
              PHISHCNN_SCRATCH_TOO_SMALL);
  CHECK_EQUAL(phishcnn_score(&model, "a.com", 5, scratch, SIZE_MAX, &result), PHISHCNN_OK);
  for (shift = 1; shift < 16; shift++) {
    CHECK_EQUAL(phishcnn_score(&model, "a.com", 5, scratch + shift, SCRATCH, &result),
                PHISHCNN_MISALIGNED);
    expect_no_score(result, PHISHCNN_MISALIGNED);
  }
  CHECK_EQUAL(phishcnn_score(&model, "a.com", 5, scratch, SCRATCH, NULL), PHISHCNN_NULL_POINTER);
  CHECK_EQUAL(phishcnn_score(&model, "a.com", 5, scratch, SCRATCH,
                             (phishcnn_result *)((char *)&result + 1)),
              PHISHCNN_MISALIGNED);
}

static void many(void) {
  const phishcnn_str urls[] = {{"https://a.com/", 14}, {"", 0},      {NULL, 0},
                               {NULL, 3},              {PHISH, 100}, {PHISH, SIZE_MAX}};
  phishcnn_str fixed[6];
  phishcnn_result results[6], one;
  int i;

  memcpy(fixed, urls, sizeof fixed);
  fixed[4].size = strlen(PHISH);
  for (i = 0; i < 6; i++) results[i] = stale();
  CHECK_EQUAL(phishcnn_score_batch(&model, fixed, 6, scratch, SCRATCH, results),
              PHISHCNN_EMPTY_URL);
  CHECK_EQUAL(results[0].status, PHISHCNN_OK);
  expect_no_score(results[1], PHISHCNN_EMPTY_URL);
  expect_no_score(results[2], PHISHCNN_EMPTY_URL);
  expect_no_score(results[3], PHISHCNN_NULL_POINTER);
  CHECK_EQUAL(results[4].status, PHISHCNN_OK);
  expect_no_score(results[5], PHISHCNN_URL_TOO_LONG);
  phishcnn_score(&model, PHISH, strlen(PHISH), scratch, SCRATCH, &one);
  CHECK(memcmp(&one.logit, &results[4].logit, sizeof one.logit) == 0);

  CHECK_EQUAL(phishcnn_score_batch(&model, fixed, 1, scratch, SCRATCH, results), PHISHCNN_OK);
  CHECK_EQUAL(phishcnn_score_batch(&model, NULL, 0, scratch, SCRATCH, NULL), PHISHCNN_OK);
  CHECK_EQUAL(phishcnn_score_batch(&model, NULL, 1, scratch, SCRATCH, results),
              PHISHCNN_NULL_POINTER);
  expect_no_score(results[0], PHISHCNN_NULL_POINTER);
  CHECK_EQUAL(phishcnn_score_batch(&model, fixed, 1, scratch, SCRATCH, NULL),
              PHISHCNN_NULL_POINTER);
  CHECK_EQUAL(phishcnn_score_batch(&model, (const phishcnn_str *)((char *)fixed + 1), 1, scratch,
                                   SCRATCH, results),
              PHISHCNN_MISALIGNED);
  CHECK_EQUAL(phishcnn_score_batch(&model, fixed, 1, scratch, SCRATCH,
                                   (phishcnn_result *)((char *)results + 1)),
              PHISHCNN_MISALIGNED);
  results[0] = results[1] = stale();
  CHECK_EQUAL(phishcnn_score_batch(&model, fixed, 2, scratch, 16, results),
              PHISHCNN_SCRATCH_TOO_SMALL);
  expect_no_score(results[0], PHISHCNN_SCRATCH_TOO_SMALL);
  expect_no_score(results[1], PHISHCNN_SCRATCH_TOO_SMALL);
}

static void explaining(void) {
  static phishcnn_segment segments[PHISHCNN_EMBEDDED_MAX_SEGMENTS];
  const size_t size = strlen(PHISH);
  phishcnn_result result, score;
  size_t count, i;

  CHECK_EQUAL(phishcnn_explain(&model, PHISH, size, scratch, SCRATCH, segments,
                               PHISHCNN_EMBEDDED_MAX_SEGMENTS, &count, &result),
              PHISHCNN_OK);
  CHECK_EQUAL(phishcnn_score(&model, PHISH, size, scratch, SCRATCH, &score), PHISHCNN_OK);
  CHECK(memcmp(&result.logit, &score.logit, sizeof score.logit) == 0);
  CHECK_EQUAL(count, 7);
  CHECK_EQUAL(segments[0].start, 7);
  CHECK_EQUAL(segments[count - 1].end, size);
  for (i = 0; i < count; i++) {
    CHECK(segments[i].start < segments[i].end);
    CHECK(segments[i].part <= PHISHCNN_PART_FRAGMENT);
    CHECK(isfinite(segments[i].contribution));
  }
  CHECK_EQUAL(segments[0].part, PHISHCNN_PART_SUBDOMAIN);

  /* Exactly enough is enough, one less is not. */
  CHECK_EQUAL(phishcnn_explain(&model, PHISH, size, scratch, SCRATCH, segments, 7, &count, &result),
              PHISHCNN_OK);
  CHECK_EQUAL(phishcnn_explain(&model, PHISH, size, scratch, SCRATCH, segments, 6, &count, &result),
              PHISHCNN_OUTPUT_TOO_SMALL);
  CHECK_EQUAL(count, 0);
  expect_no_score(result, PHISHCNN_OUTPUT_TOO_SMALL);
  CHECK_EQUAL(phishcnn_explain(&model, PHISH, size, scratch, SCRATCH, NULL, 0, &count, &result),
              PHISHCNN_OUTPUT_TOO_SMALL);
  CHECK_EQUAL(phishcnn_explain(&model, PHISH, size, scratch, SCRATCH, NULL, 7, &count, &result),
              PHISHCNN_NULL_POINTER);
  CHECK_EQUAL(phishcnn_explain(&model, PHISH, size, scratch, SCRATCH,
                               (phishcnn_segment *)((char *)segments + 2), 7, &count, &result),
              PHISHCNN_MISALIGNED);
  CHECK_EQUAL(phishcnn_explain(&model, PHISH, size, scratch, SCRATCH, segments, 7, NULL, &result),
              PHISHCNN_NULL_POINTER);
  expect_no_score(result, PHISHCNN_NULL_POINTER);
  CHECK_EQUAL(phishcnn_explain(&model, PHISH, size, scratch, SCRATCH, segments, 7, &count, NULL),
              PHISHCNN_NULL_POINTER);
  CHECK_EQUAL(phishcnn_explain(&model, "", 0, scratch, SCRATCH, segments, 7, &count, &result),
              PHISHCNN_EMPTY_URL);
  CHECK_EQUAL(phishcnn_explain(&model, PHISH, size, scratch, 1, segments, 7, &count, &result),
              PHISHCNN_SCRATCH_TOO_SMALL);
  CHECK_EQUAL(phishcnn_explain(&model, PHISH, size, scratch + 4, SCRATCH, segments, 7, &count,
                               &result),
              PHISHCNN_MISALIGNED);
}

int main(int argc, char **argv) {
  CHECK_EQUAL(argc, 3);
  versions();
  texts();
  without_a_model();
  loading(argv[1], argv[2]);
  CHECK_EQUAL(phishcnn_model_load_embedded(&model), PHISHCNN_OK);
  describing();
  scoring();
  many();
  explaining();
  CHECK_EQUAL(phishcnn_model_unload(&model), PHISHCNN_OK);
  CHECK_EQUAL(phishcnn_model_scratch_size(&model), 0);
  puts("api: every check holds");
  return 0;
}
