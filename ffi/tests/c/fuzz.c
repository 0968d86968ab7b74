/* Random URLs, models, sizes and alignments through every function that takes them.
 *
 *     fuzz MODEL-FILE ROUNDS [SEED]
 *
 * Inputs and outputs end where a page without access begins, so that one byte too far, read or
 * written, ends the program even in code that no sanitizer has seen. Equal seeds, equal runs.
 */
#define _GNU_SOURCE
#include <phishcnn.h>

#include "check.h"

#include <math.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static uint64_t state;

static uint32_t next(void) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return (uint32_t)(state >> 32);
}

static size_t below(size_t bound) { return next() % bound; }

/* Memory of up to `size` bytes that ends at a guard page. */
typedef struct {
  unsigned char *end;
  size_t size;
} guarded;

static guarded guard(size_t size) {
  const size_t page = (size_t)sysconf(_SC_PAGESIZE);
  const size_t whole = (size + page - 1) / page * page;
  unsigned char *memory = (unsigned char *)mmap(NULL, whole + page, PROT_READ | PROT_WRITE,
                                                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  guarded out;

  CHECK(memory != MAP_FAILED);
  CHECK_EQUAL(mprotect(memory + whole, page, PROT_NONE), 0);
  out.end = memory + whole;
  out.size = size;
  return out;
}

static guarded url_memory, model_memory, scratch_memory, segment_memory, result_memory, text_memory;
static phishcnn_model model;
static unsigned char *model_file;
static size_t model_size;
static long scores, refusals, loads, broken;

static const char *const seeds[] = {
  "https://en.wikipedia.org/wiki/Phishing",
  "http://user:pass@www.shop.example.co.uk:8080/a/b;c?k=1&l=2#frag",
  "HTTP://[2001:db8::1]:443/x",
  "ftp://Files.Example.com/A",
  "http://\xd0\xbf\xd1\x80\xd0\xb8\xd0\xbc\xd0\xb5\xd1\x80.\xd1\x80\xd1\x84/\xff\xfe",
  "javascript:alert(1)",
  "a@b@c.com:80:90/\\?#?#",
  " \t\r\n",
};

static const char pieces[] = "/\\?#@:.[]& %=;-_~www.http://https://co.uk\0\xff\x80 0129azAZ";

/* A URL of random bytes, of pieces that mean something, or a mutated seed. */
static char *random_url(size_t *size) {
  char *url;
  size_t i;

  *size = below(20) == 0 ? below(65540) : below(200);
  url = (char *)url_memory.end - *size;
  switch (below(3)) {
  case 0:
    for (i = 0; i < *size; i++) url[i] = (char)next();
    break;
  case 1:
    for (i = 0; i < *size; i++) url[i] = pieces[below(sizeof pieces - 1)];
    break;
  default: {
    const char *seed = seeds[below(sizeof seeds / sizeof seeds[0])];

    *size = strlen(seed);
    url = (char *)url_memory.end - *size;
    memcpy(url, seed, *size);
    for (i = below(6); i > 0 && *size > 0; i--) url[below(*size)] = (char)next();
  }
  }
  return url;
}

static void check_result(phishcnn_result result, phishcnn_status status) {
  CHECK_EQUAL(result.status, status);
  if (status == PHISHCNN_OK) {
    CHECK(isfinite(result.logit) && result.probability >= 0.0F && result.probability <= 1.0F);
    CHECK(result.verdict >= PHISHCNN_BENIGN && result.verdict <= PHISHCNN_PHISHING);
    scores++;
  } else {
    CHECK(isnan(result.logit) && isnan(result.probability));
    CHECK_EQUAL(result.verdict, PHISHCNN_UNKNOWN);
    refusals++;
  }
}

/* A size that is mostly right and sometimes anything. */
static size_t random_size(size_t right) {
  switch (below(8)) {
  case 0:
    return below(right + 1);
  case 1:
    return below(2) ? 0 : right - 1;
  default:
    return right;
  }
}

static void score(const phishcnn_model *with) {
  const size_t need = phishcnn_model_scratch_size(with);
  const size_t shift = below(10) == 0 ? below(16) : 0;
  const size_t scratch_size = random_size(need > 0 ? need : 16);
  const size_t capacity = random_size(phishcnn_model_max_segments(with) + 1);
  unsigned char *scratch = scratch_memory.end - (scratch_size + 15) / 16 * 16 - shift;
  phishcnn_segment *segments = (phishcnn_segment *)segment_memory.end - capacity;
  phishcnn_result *result = (phishcnn_result *)result_memory.end - 1;
  phishcnn_result alone;
  size_t size, count = 99, i;
  char *url = random_url(&size);
  phishcnn_status status;
  float probability;
  phishcnn_verdict verdict;

  status = phishcnn_score(with, url, size, scratch, scratch_size, result);
  check_result(*result, status);
  alone = *result;
  if (status == PHISHCNN_OK) {
    CHECK_EQUAL(phishcnn_judge(with, alone.logit, &verdict), PHISHCNN_OK);
    CHECK_EQUAL(verdict, alone.verdict);
    CHECK_EQUAL(phishcnn_probability(with, alone.logit, 0.5F, &probability), PHISHCNN_OK);
    CHECK(memcmp(&probability, &alone.probability, sizeof probability) == 0);
  }

  /* Explaining is a scoring for each segment: short URLs, or now and then a long one. */
  if (size < 80 || below(50) == 0) {
    status = phishcnn_explain(with, url, size, scratch, scratch_size, segments, capacity, &count,
                              result);
    check_result(*result, status);
    if (status == PHISHCNN_OK) {
      CHECK(memcmp(&alone.logit, &result->logit, sizeof alone.logit) == 0);
      CHECK(count <= capacity);
      for (i = 0; i < count; i++) {
        CHECK(segments[i].start < segments[i].end && segments[i].end <= size);
        CHECK(segments[i].part <= PHISHCNN_PART_FRAGMENT);
      }
    } else {
      CHECK_EQUAL(count, 0);
      CHECK(alone.status == status || status == PHISHCNN_OUTPUT_TOO_SMALL);
    }
  }
  {
    const size_t items = below(4);
    phishcnn_str *texts = (phishcnn_str *)text_memory.end - items;
    phishcnn_result *results = (phishcnn_result *)result_memory.end - items;

    for (i = 0; i < items; i++) {
      texts[i].data = below(10) == 0 ? NULL : url;
      texts[i].size = below(3) == 0 ? below(size + 1) : size;
    }
    status = phishcnn_score_batch(with, texts, items, scratch, scratch_size, results);
    for (i = 0; i < items; i++) {
      check_result(results[i], results[i].status);
      if (texts[i].data == url && texts[i].size == size) {
        CHECK_EQUAL(results[i].status, alone.status);
        CHECK(memcmp(&results[i].logit, &alone.logit, sizeof alone.logit) == 0);
      }
    }
  }
}

/* A model file with some bytes changed, or cut; where it still loads, it is used. */
static void load(void) {
  static phishcnn_model other;
  static const char keys[][24] = {"phishcnn.name", "phishcnn.trained_until", "", "\xff"};
  char item[32], hex[PHISHCNN_SHA256_SIZE];
  const size_t size = below(4) == 0 ? below(model_size) : model_size;
  const size_t item_size = below(sizeof item + 1);
  unsigned char *file = model_memory.end - size;
  phishcnn_info info;
  phishcnn_str value;
  phishcnn_status status;
  size_t i;

  memcpy(file, model_file, size);
  /* Mostly in the header, where a byte decides. */
  for (i = below(4); i > 0 && size > 0; i--) {
    file[below(below(4) == 0 || size < 2000 ? size : 2000)] =
      below(2) ? (unsigned char)next() : (unsigned char)pieces[below(sizeof pieces - 1)];
  }
  memset(item, 'x', sizeof item);
  status = phishcnn_model_load(&other, file, size, item, item_size);
  if (item_size > 0) CHECK(memchr(item, '\0', item_size) != NULL);
  if (status != PHISHCNN_OK) {
    CHECK(status >= PHISHCNN_NOT_SAFETENSORS && status <= PHISHCNN_METADATA_MISSING);
    CHECK_EQUAL(phishcnn_model_unload(&other), PHISHCNN_NOT_LOADED);
    broken++;
    return;
  }
  loads++;
  CHECK_EQUAL(phishcnn_model_info(&other, &info), PHISHCNN_OK);
  CHECK_EQUAL(info.file_size, size);
  CHECK((const unsigned char *)info.layers.data >= file &&
        (const unsigned char *)info.layers.data + info.layers.size <= file + size);
  phishcnn_model_metadata(&other, keys[below(4)], &value);
  CHECK_EQUAL(phishcnn_model_sha256(&other, hex, random_size(sizeof hex)) % 302, 0);
  if (info.scratch_size <= scratch_memory.size && info.max_segments < 256) score(&other);
  CHECK_EQUAL(phishcnn_model_unload(&other), PHISHCNN_OK);
}

int main(int argc, char **argv) {
  long rounds, i;

  CHECK(argc == 3 || argc == 4);
  rounds = atol(argv[2]);
  state = argc == 4 ? (uint64_t)atoll(argv[3]) : 1;
  state = state * 0x9e3779b97f4a7c15ULL + 1;
  model_file = read_file(argv[1], &model_size);
  url_memory = guard(65540);
  model_memory = guard(model_size);
  scratch_memory = guard((1 << 20) + 16);
  segment_memory = guard(300 * sizeof(phishcnn_segment));
  result_memory = guard(4 * sizeof(phishcnn_result));
  text_memory = guard(4 * sizeof(phishcnn_str));
  CHECK_EQUAL(phishcnn_model_load(&model, model_file, model_size, NULL, 0), PHISHCNN_OK);
  CHECK(phishcnn_model_scratch_size(&model) <= scratch_memory.size);
  for (i = 0; i < rounds; i++) {
    (void)phishcnn_status_text((phishcnn_status)next());
    (void)phishcnn_verdict_text((phishcnn_verdict)next());
    (void)phishcnn_part_text((uint8_t)next());
    if (below(3) == 0) {
      load();
    } else {
      score(&model);
    }
  }
  free(model_file);
  CHECK(rounds < 1000 || (scores > 0 && refusals > 0 && loads > 0 && broken > 0));
  printf("fuzz: %ld rounds: %ld scores, %ld refusals, %ld models loaded, %ld refused\n", rounds,
         scores, refusals, loads, broken);
  return 0;
}
