/* The model in flash: MODEL is its path, from the Makefile. */
  .section .rodata.model, "a", %progbits
  .balign 64
  .global model_file, model_file_end
model_file:
  .incbin MODEL
model_file_end:
