/* PhishCNN on a microcontroller: no heap, no operating system, everything in static memory. Prints
 * each URL's score, then how many instructions a URL takes, how much stack the library used, and how
 * much RAM the whole program.
 *
 * Built by the Makefile beside this file; runs on an Arm Cortex-M4F, here QEMU's mps2-an386, where
 * semihosting carries the output. A product would leave printf out.
 */
#include <phishcnn.h>

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static phishcnn_model model;
#ifdef SCRATCH_SIZE /* `make MODEL=FILE`: that file in flash (model.S) instead of the embedded model */
extern const unsigned char model_file[], model_file_end[];
#define LOAD() phishcnn_model_load(&model, model_file, (size_t)(model_file_end - model_file), NULL, 0)
#else
#define SCRATCH_SIZE PHISHCNN_EMBEDDED_SCRATCH_SIZE
#define LOAD() phishcnn_model_load_embedded(&model)
#endif
static PHISHCNN_ALIGNED unsigned char scratch[SCRATCH_SIZE];
static phishcnn_segment segments[32];

static const char *const urls[] = {
  "https://en.wikipedia.org/wiki/Phishing",
  "http://paypal.com.secure-login.account-verify.ru/webscr?cmd=_login",
  "",
};

/* What is free lies between newlib's heap, which printf uses, and the stack. It is painted; where the paint
 * ends is how deep the stack went.
 *
 * A stack that goes too deep writes into the heap and then the static data, and the answers may be right all
 * the same. So the lowest paint is a guard: the program ends when it is not whole. A frame could still step
 * over the guard without a trace; in a build with much RAM it could not, for there the paint reaches below any
 * frame. The tests therefore compare what is measured with little RAM and with much. */
extern char _ram_start[], _stack_top[]; /* of the linker script */
enum { PAINT = 0x5aa55aa5, SLACK = 64, GUARD = 64 };
static size_t least_free = SIZE_MAX;

static volatile uint32_t *bottom(void) { return (uint32_t *)(((uintptr_t)sbrk(0) + 3) & ~(uintptr_t)3); }

static __attribute__((noinline)) const char *deepest(void) {
  const volatile uint32_t *first = bottom(), *word = first;
  size_t free;

  while (*word == PAINT) word++;
  free = (size_t)(word - first) * 4;
  if (free < GUARD) _exit(3); /* exit would ask the heap for files to close */
  if (free < least_free) least_free = free;
  return (const char *)word;
}

static __attribute__((noinline)) void paint(void) {
  volatile uint32_t *word, *here = (uint32_t *)__builtin_frame_address(0);

  if (least_free != SIZE_MAX) deepest(); /* what printf used since the last time */
  for (word = bottom(); word < here - SLACK / 4; word++) *word = PAINT;
}

/* Of its caller: in a frame of its own it would leave out as much. */
static inline __attribute__((always_inline)) size_t used(void) {
  const char *here;

  __asm volatile("mov %0, sp" : "=r"(here));
  return (size_t)(here - deepest());
}

/* What the meter says of this must be little more than KNOWN: a meter can be wrong, too. */
enum { KNOWN = 1024 };
static __attribute__((noinline)) int known(void) {
  volatile unsigned char memory[KNOWN];
  size_t i;

  for (i = 0; i < KNOWN; i++) memory[i] = 0;
  return memory[0];
}

/* SysTick, which every Cortex-M has. Under QEMU's -icount it counts executed instructions, so many to a
 * tick; a loop whose instructions are known tells how many. (On a board it counts cycles.) */
enum { LOOPS = 100000 };
static volatile uint32_t *const systick = (volatile uint32_t *)0xE000E010; /* control, reload, value */

static uint32_t tick(void) { return systick[2]; }
static uint32_t since(uint32_t start) { return (start - systick[2]) & 0xffffff; }

static uint32_t ticks_of_loop(void) {
  uint32_t loops = LOOPS, start;

  systick[1] = 0xffffff;
  systick[2] = 0;
  systick[0] = 5; /* on, no interrupt, the processor's clock */
  start = tick();
  __asm volatile(".syntax unified\n1: subs %0, %0, #1\n bne 1b\n" : "+l"(loops) : : "cc");
  return since(start);
}

int main(void) {
  uint32_t loop, start, ticks = 0;
  size_t i, count, known_stack, load_stack, score_stack = 0, explain_stack;
  phishcnn_result result;
  phishcnn_status status;

  paint();
  if (known() != 0) return 1;
  known_stack = used();

  paint();
  status = LOAD();
  load_stack = used();
  if (status != PHISHCNN_OK) return 1;
  loop = ticks_of_loop();

  for (i = 0; i < sizeof urls / sizeof urls[0]; i++) {
    uint32_t bits;

    paint();
    start = tick();
    status = phishcnn_score(&model, urls[i], strlen(urls[i]), scratch, sizeof scratch, &result);
    if (i == 0) ticks = since(start);
    if (used() > score_stack) score_stack = used();
    memcpy(&bits, &result.logit, sizeof bits);
    if (status == PHISHCNN_OK) {
      printf("%s %08lx %s\n", phishcnn_verdict_text(result.verdict), (unsigned long)bits, urls[i]);
    } else {
      printf("error %d %s\n", (int)status, phishcnn_status_text(status));
    }
  }

  paint();
  status = phishcnn_explain(&model, urls[1], strlen(urls[1]), scratch, sizeof scratch, segments,
                            sizeof segments / sizeof segments[0], &count, &result);
  explain_stack = used();
  if (status != PHISHCNN_OK) return 1;
  printf("segments %u\n", (unsigned)count);
  printf("instructions %lu per byte\n",
         (unsigned long)((uint64_t)ticks * 2 * LOOPS / loop / strlen(urls[0])));
  printf("stack load %u score %u explain %u\n", (unsigned)load_stack, (unsigned)score_stack,
         (unsigned)explain_stack);
  printf("model %u bytes, scratch %u\n", (unsigned)sizeof model, (unsigned)sizeof scratch);
  printf("stack of %u bytes measured %u\n", (unsigned)KNOWN, (unsigned)known_stack);
  deepest();
  printf("RAM %u of %u\n", (unsigned)(_stack_top - _ram_start - least_free), (unsigned)(_stack_top - _ram_start));
  return 0;
}
