"""Checkpoints of several families on our own forwards. The map of this folder; torch lives here.

Who calls in: the engine (`Reader.language`), the feature cache (`Reader.encode_pages`), and whoever
loads (`checkpoint.load_reader`). In reading order:

checkpoint      a folder becomes a Reader: the one loading path; start here
reader          what was loaded
weights         from the files onto the device, one after the other
families/       all that an architecture changes, one file each
survey          what a folder holds, before its weights are loaded
memory_plan     what of a device goes to what, before anything is loaded
front_half      prompt, page sizes and tower, for engines that are not ours
embedded        where the shipped checkpoint lies
processor       what the image processor does to a page
prompt          pages and a question as tokens, tokens as text
chat_template   the checkpoint's template, cut where they go
positions       where tokens stand (M-RoPE)
identity        a checkpoint named by its bytes
vision          page pixels to page features, in micro-batches
vision_parts    what the families' towers are built of
grid_tower      towers as blocks in halves, compiled once for pages of every size
language_parts  a language model as named parts
language        one forward over a step's tokens
norms           root mean square, or with the mean taken off
own_forward     one prompt through it, for checks at load
scales          powers of two that keep FP16 in its range
half_precision  whether FP16 is safe for a checkpoint
linear          a matrix as its device likes it
int8            the same in 8 bits
linear_triton   products with weights of another format, for CUDA
attention       shared and private keys, merged
kernels         what lies between matrices
kernels_triton  the same for CUDA
kernel_tiles    what fits a device's shared memory
capture         recording a CUDA graph
cores           who computes on the CPU
library         the library's own forward: the yardstick
thinking        what opens a thought, and what ends it
answer_text     tokens to text while they come
token_bytes     which bytes a token stands for
formats         which number formats this machine multiplies at speed
wide_products   16-bit numbers multiplied in float32 where it does not
toolchain       whether kernels can be built here
"""
