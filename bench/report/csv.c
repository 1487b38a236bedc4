/* SPDX-License-Identifier: BSD-3-Clause */
#include "report/csv.h"

static void put_text(FILE *file, const char *text) {
    fputc('"', file);
    for (; *text != '\0'; text++) {
        if (*text == '"')
            fputc('"', file);
        fputc(*text, file);
    }
    fputc('"', file);
}

static void put_case(FILE *file, const bench_case *c) {
    fprintf(file, "%s,%s,%s,%s,%s,%s,%zu,%zu,%zu,%zu,%zu,%zu,", c->model != NULL ? c->model : "", op_table[c->op].name,
            variant_table[c->variant].name, dtype_table[c->dtype].name, precision_table[c->precision].name,
            c->cold ? "cold" : "warm", c->B, c->H, c->G, c->T, c->D, c->threads);
}

static void put_cell(const sweep *s, FILE *file, size_t index, size_t b) {
    char room[200];
    bool tie;
    const cell *one = sweep_cell(s, index, b);
    (void)sweep_winner(s, index, &tie);
    const bool won = sweep_ties(s, index, b);
    put_text(file, s->backends.item[b].label);
    if (cell_has_time(one))
        fprintf(file, ",%.9g,%.9g,%.9g,%zu,%.6g,%.6g,%.6g,%s,", one->seconds.median, one->seconds.low,
                one->seconds.high, one->count, sweep_gflops(s, index, b), sweep_gbytes(s, index, b),
                sweep_gflops(s, index, b) / s->peaks[index], won ? tie ? "tie" : "yes" : "no");
    else
        fputs(",,,,,,,,,", file);
    put_text(file, cell_trouble(one, room, sizeof room));
    if (s->case_peaks[index] > 0)
        fprintf(file, ",%.6g,%s\r\n", s->case_peaks[index], sweep_fell(s, index) ? "yes" : "no");
    else
        fputs(",,\r\n", file);
}

void csv_write(const sweep *s, FILE *file) {
    fputs(
        "model,op,variant,dtype,precision,cache,batch,heads,kv_heads,length,width,threads,backend,seconds,seconds_low,"
        "seconds_high,rounds,GFLOPS,GBps,peak_share,winner,error,peak_GFLOPS,peak_fell\r\n",
        file);
    for (size_t i = 0; i < s->count * s->backends.running; i++) {
        put_case(file, &s->cases[i / s->backends.running]);
        put_cell(s, file, i / s->backends.running, i % s->backends.running);
    }
}
