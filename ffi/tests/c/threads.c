/* One model, many threads, a scratch each: every score has the bits of the single thread's. */
#include <phishcnn.h>

#include "check.h"

#include <pthread.h>
#include <string.h>

#ifndef ROUNDS
#define ROUNDS 5
#endif
enum { THREADS = 8, URLS = 200 };

static phishcnn_model model;
static char urls[URLS][80];
static phishcnn_result expected[URLS];

static void *work(void *argument) {
  static PHISHCNN_ALIGNED unsigned char scratches[THREADS][PHISHCNN_EMBEDDED_SCRATCH_SIZE];
  const size_t thread = *(const size_t *)argument;
  int round, i;

  for (round = 0; round < ROUNDS; round++) {
    for (i = 0; i < URLS; i++) {
      /* Each thread in another order. */
      const int at = (int)(((size_t)i * (2 * thread + 1) + (size_t)round) % URLS);
      phishcnn_result result;

      CHECK_EQUAL(phishcnn_score(&model, urls[at], strlen(urls[at]), scratches[thread],
                                 sizeof scratches[thread], &result),
                  PHISHCNN_OK);
      CHECK(memcmp(&result.logit, &expected[at].logit, sizeof result.logit) == 0);
      CHECK_EQUAL(result.verdict, expected[at].verdict);
    }
  }
  return NULL;
}

int main(void) {
  static PHISHCNN_ALIGNED unsigned char scratch[PHISHCNN_EMBEDDED_SCRATCH_SIZE];
  pthread_t threads[THREADS];
  size_t numbers[THREADS];
  size_t t;
  int i, different = 0;

  CHECK_EQUAL(phishcnn_model_load_embedded(&model), PHISHCNN_OK);
  for (i = 0; i < URLS; i++) {
    snprintf(urls[i], sizeof urls[i], "http://host%d.example%d.com/path/%d?q=%d", i, i % 7, i * i, i);
    CHECK_EQUAL(phishcnn_score(&model, urls[i], strlen(urls[i]), scratch, sizeof scratch,
                               &expected[i]),
                PHISHCNN_OK);
    different += expected[i].logit != expected[0].logit;
  }
  CHECK(different > URLS / 2);
  for (t = 0; t < THREADS; t++) {
    numbers[t] = t;
    CHECK_EQUAL(pthread_create(&threads[t], NULL, work, &numbers[t]), 0);
  }
  for (t = 0; t < THREADS; t++) CHECK_EQUAL(pthread_join(threads[t], NULL), 0);
  printf("threads: %d scores in %d threads, every bit equal\n", THREADS * ROUNDS * URLS, THREADS);
  return 0;
}
