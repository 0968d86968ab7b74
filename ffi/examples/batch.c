/* Scores many URLs in one call, then explains the worst of them. No heap: all sizes are known when
 * the program is compiled.
 *
 *     cc batch.c $(pkg-config --cflags --libs phishcnn) -o batch
 */
#include <phishcnn.h>

#include <stdio.h>

#define URL(text) {text, sizeof(text) - 1}

static const phishcnn_str urls[] = {
  URL("https://en.wikipedia.org/wiki/Phishing"),
  URL(""), /* gets a status; the others still get a score */
  URL("http://paypal.com.secure-login.account-verify.ru/webscr?cmd=_login"),
  URL("https://www.debian.org/"),
};
enum { COUNT = sizeof urls / sizeof urls[0] };

static phishcnn_model model;
static PHISHCNN_ALIGNED unsigned char scratch[PHISHCNN_EMBEDDED_SCRATCH_SIZE];
static phishcnn_segment segments[PHISHCNN_EMBEDDED_MAX_SEGMENTS];

int main(void) {
  phishcnn_result results[COUNT], result;
  size_t i, count, worst = 0;
  phishcnn_status status = phishcnn_model_load_embedded(&model);

  if (status != PHISHCNN_OK) return 3;

  status = phishcnn_score_batch(&model, urls, COUNT, scratch, sizeof scratch, results);
  if (status != PHISHCNN_OK) printf("not every URL has a score: %s\n", phishcnn_status_text(status));
  for (i = 0; i < COUNT; i++) {
    if (results[i].status != PHISHCNN_OK) {
      printf("%-10s %s\n", "error", phishcnn_status_text(results[i].status));
      continue;
    }
    printf("%-10s %s\n", phishcnn_verdict_text(results[i].verdict), urls[i].data);
    if (results[worst].status != PHISHCNN_OK || results[i].logit > results[worst].logit) worst = i;
  }

  status = phishcnn_explain(&model, urls[worst].data, urls[worst].size, scratch, sizeof scratch,
                            segments, PHISHCNN_EMBEDDED_MAX_SEGMENTS, &count, &result);
  if (status != PHISHCNN_OK) return 1;
  printf("\nwhy %s (logit %+.3f):\n", phishcnn_verdict_text(result.verdict), (double)result.logit);
  for (i = 0; i < count; i++) {
    printf("%+8.3f  %-17s  %.*s\n", (double)segments[i].contribution,
           phishcnn_part_text(segments[i].part), (int)(segments[i].end - segments[i].start),
           urls[worst].data + segments[i].start);
  }
  return 0;
}
