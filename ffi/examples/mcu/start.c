/* What runs before main on a Cortex-M: vectors, FPU, data. A product has its vendor's own. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

extern uint32_t _data_in_flash[], _data[], _edata[], _bss[], _end[], _stack_top[];

int main(void);
void initialise_monitor_handles(void); /* newlib's semihosting */
void reset(void);
void fault(void);

typedef void (*vector)(void);

__attribute__((section(".vectors"), used)) static const struct {
  uint32_t *stack;
  vector handlers[15];
} vectors = {
  _stack_top,
  {reset, fault, fault, fault, fault, fault, 0, 0, 0, 0, fault, fault, 0, fault, fault},
};

void reset(void) {
#ifdef __ARM_FP
  /* The FPU is off after reset; code for a hard-float target uses it from the first line. */
  *(volatile uint32_t *)0xE000ED88 |= 0xFU << 20;
  __asm volatile("dsb\nisb");
#endif
  memcpy(_data, _data_in_flash, (size_t)((char *)_edata - (char *)_data));
  memset(_bss, 0, (size_t)((char *)_end - (char *)_bss));
  initialise_monitor_handles();
  exit(main());
}

void fault(void) { exit(2); }
