package e2e

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/uplinkd/uplinkd/internal/lab"
)

// networkManagerHangs: uplink-hook itself never hangs; if another program has its name and does, the address works all the same.
// NetworkManager calls the link connected when the scripts in pre-up.d have ended.
func networkManagerHangs(h *dhcpHost) {
	h.hookFile(`echo $$ >>/run/uplinkd/pids; exec sleep 1000`)
	h.t.Cleanup(func() { h.killHanging() }) // after the dispatcher's end: there will be no more of them
	h.b.serve()
	h.b.start()
	h.eventually("the address works", func() error {
		if !h.has(h.b.addr()) {
			return errors.New("not there")
		}
		return errors.Join(h.b.declined(), lab.Reach(h.lab.Inet, h.b.addr(), lab.Probe{}))
	})
	h.eventually("a hook hangs", func() error {
		_, err := os.Stat(h.path("run/uplinkd/pids"))
		return err
	})
	h.eventually("eth2 is connected when they have been ended", func() error {
		h.killHanging()
		return h.client.holds(h.b)
	})
	h.keepsLease()
}

// killHanging ends the hooks that have written down their process ids.
func (h *dhcpHost) killHanging() {
	text, err := os.ReadFile(h.path("run/uplinkd/pids"))
	if err != nil {
		return // none has been called
	}
	for _, word := range strings.Fields(string(text)) {
		if pid, err := strconv.Atoi(word); err == nil {
			_ = syscall.Kill(pid, syscall.SIGKILL) // may have been ended before
		}
	}
}
