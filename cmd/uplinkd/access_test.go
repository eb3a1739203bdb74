package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/testnet"
)

// TestHookUsers: the hook socket is root's by default, a reload opens and closes it at once, and a name that is nobody's is
// refused with its place: at the start, in a check, and in a reload, which changes nothing then.
func TestHookUsers(t *testing.T) {
	p := newPlace(t)
	p.uplink()
	const nobody = "rt_tables_dir = ''\nfence = false\nhook_users = ['root', 'no-such-user']\n"
	const place = `uplinkd.toml:3:23: hook_users: there is no user "no-such-user" here`
	bad := p.write("bad.uplinkd.toml", nobody)
	for _, args := range [][]string{{"--check"}, {"--once"}, {}} {
		out, err := p.command(append(args, "--config", bad)...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), place) {
			t.Errorf("%q: %v: %s", args, err, out)
		}
	}

	// Where the socket cannot be given to the group, as in an ordinary user's namespace, who connects decides alone.
	group := fs.FileMode(0o660)
	if os.Chown(bad, -1, 64998) != nil {
		group = 0o666
	}
	d := p.start()
	p.wantMode(0o600)
	for _, c := range []struct {
		file string
		mode fs.FileMode
	}{
		{"hook_users = [64999]", 0o666}, {"hook_groups = [64998]", group}, {"", 0o600}, {"hook_users = ['root']\nhook_groups = ['root']", 0o666},
	} {
		p.write("uplinkd.toml", "rt_tables_dir = ''\n"+c.file)
		testnet.Must(t, d.Process.Signal(unix.SIGHUP))
		p.wantMode(c.mode)
	}
	p.wantState(t, "4500: from 192.0.2.10 unreachable")
	p.write("uplinkd.toml", nobody)
	testnet.Must(t, d.Process.Signal(unix.SIGHUP))
	testnet.Eventually(t, 5*time.Second, func() error { return contains(d.text(), "there is no user") })
	p.wantMode(0o666)
	p.wantState(t, "4500: from 192.0.2.10 unreachable")
	testnet.Must(t, d.Process.Signal(unix.SIGTERM), d.Wait())
}

func (p *place) wantMode(want fs.FileMode) {
	p.t.Helper()
	testnet.Eventually(p.t, 5*time.Second, func() error {
		info, err := os.Stat(filepath.Join(p.dir, "run", "hook.sock"))
		if err == nil && info.Mode().Perm() != want {
			err = fmt.Errorf("the socket has mode %v, want %v", info.Mode().Perm(), want)
		}
		return err
	})
}
