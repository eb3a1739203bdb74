package main

import (
	"os"
	"syscall"
	"testing"

	"github.com/uplinkd/uplinkd/internal/hookwire"
	"github.com/uplinkd/uplinkd/internal/testnet"
)

// TestOwnNetNS: what the message carries is what stat(2) says of the process's namespace.
func TestOwnNetNS(t *testing.T) {
	info, err := os.Stat("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	st := info.Sys().(*syscall.Stat_t)
	if got := netNS(); got == (hookwire.NetNS{}) || got.Ino != st.Ino || got.Dev != st.Dev {
		t.Errorf("netNS() = %+v, want device %d, inode %d", got, st.Dev, st.Ino)
	}
}

// TestHookOfAnotherNetNS: lo has the ifindex 1 in every namespace, and a hook that runs in another one than the daemon
// must neither bind nor release anything on the daemon's, whether the daemon is there or comes later.
func TestHookOfAnotherNetNS(t *testing.T) {
	dir, d, run := shortDir(t), &daemon{}, program(t)
	container := testnet.New(t)
	release := []string{"reason=RELEASE6", "interface=lo", "old_ip6_address=2001:db8::1"}
	hook := func(env []string) { call(t, run, env, "--runtime-dir", dir, "dhclient") }
	stranger := func(env []string) { container.Do(t, func() { hook(env) }) }

	hook(bound("2001:db8::1"))
	stranger(release)
	if n := len(spoolFiles(t, dir)); n != 2 {
		t.Fatalf("%d messages kept, want 2", n)
	}
	d.start(t, dir)
	stranger(release)
	stranger(bound("2001:db8::2"))
	hook(bound("2001:db8::3"))

	if got := d.got(); len(got) != 2 || d.events["dhclient6 1 bind 2001:db8::1"] != 1 || d.events["dhclient6 1 bind 2001:db8::3"] != 1 {
		t.Errorf("events %q, want those of the daemon's own namespace only", got)
	}
	if l := spoolFiles(t, dir); len(l) > 0 {
		t.Errorf("spool: %q, want a refused message not kept", l)
	}
}
