/* Preloaded into a node's systemd-timedated: the clock counts as synchronised unless /run/ntp-unsynced is there. */
#define _GNU_SOURCE
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

int adjtimex(struct timex *t) {
  int r = clock_adjtime(CLOCK_REALTIME, t);
  if (access("/run/ntp-unsynced", F_OK) == 0) {
    t->maxerror = 16000000;
    t->status |= STA_UNSYNC;
    return r < 0 ? r : TIME_ERROR;
  }
  t->maxerror = 1000;
  t->status &= ~STA_UNSYNC;
  return TIME_OK;
}
