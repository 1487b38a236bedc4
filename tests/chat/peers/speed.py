# SPDX-License-Identifier: BSD-3-Clause
"""Prompts and answers in tokens a second beside llama.cpp: speed.py ATTN_CHAT MODEL [LENGTH...]

Each with one thread and with two. Answers are of 32 tokens behind the prompt; "first" is the time from the start of a
process to its first token, memory is the most that it had. Needs llama-cpp-python besides requirements.txt."""
import resource
import subprocess
import sys
import time

LLAMA = "llama.cpp"


def llama(path, threads, lengths):
    begin = time.perf_counter()
    import llama_cpp
    model = llama_cpp.Llama(path, n_ctx=max(lengths) + 256, n_threads=threads, n_threads_batch=threads, n_batch=512,
                            verbose=False)
    model.eval(list(range(100, 137)))
    model.sample(temp=0)
    print(f"first {time.perf_counter() - begin:.2f} s")
    for length in lengths:
        model.reset()
        begin = time.perf_counter()
        model.eval([1 + (i * 77 + 5) % 40000 for i in range(length)])
        model.sample(temp=0)
        middle = time.perf_counter()
        for _ in range(32):
            model.eval([model.sample(temp=0)])
        end = time.perf_counter()
        print(f"{length:6} {length / (middle - begin):16.1f} {32 / (end - middle):16.1f}")
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB at most")


def main(chat, path, *lengths):
    lengths = lengths or ("512", "4096")
    for threads in ("1", "2"):
        context = str(max(map(int, lengths)) + 256)
        subprocess.run([chat, "chat", "-p", "Hi", "--most", "1", "--model", path, "--threads", threads], check=True)
        subprocess.run([chat, "bench", "--context", context, "--model", path, "--threads", threads], check=True)
        print(LLAMA, flush=True)
        subprocess.run([sys.executable, __file__, LLAMA, path, threads, *lengths], check=True)


if sys.argv[1] == LLAMA:
    llama(sys.argv[2], int(sys.argv[3]), [int(n) for n in sys.argv[4:]])
else:
    main(*sys.argv[1:])
