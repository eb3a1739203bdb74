package e2e

import (
	"errors"
	"net/netip"
	"os"
	"syscall"
	"time"
)

// udhcpc is BusyBox's client, one process a link. All that is done to the kernel its script does.
type udhcpc struct {
	// script is a shell's command that the script is made of; its arguments are the client's.
	script string
	// files are put into a directory in the place of /etc/udhcpc; none: the system's stays.
	files func(h *dhcpHost) map[string]string
	// release: the lease is given back when the client ends (-R).
	releaseAtExit bool
}

// debianUdhcpc has the repository's file as its script, which calls the system's.
func debianUdhcpc() udhcpc { return udhcpc{script: `"$root/udhcpc/uplinkd" "$@"`} }

// alpineUdhcpc has a script that calls what lies in post-ACTION directories, as Alpine's does, and does its own work in the
// simplest way.
func alpineUdhcpc() udhcpc {
	return udhcpc{script: `/etc/udhcpc/default.script "$@"`, files: func(h *dhcpHost) map[string]string {
		files := map[string]string{"default.script": alpineScript}
		for _, action := range []string{"bound", "renew", "deconfig"} {
			name := "post-" + action + "/uplinkd"
			files[name] = h.repository("hooks/udhcpc/" + name)
		}
		return files
	}}
}

// alpineScript calls its hooks without an argument.
const alpineScript = `#!/bin/sh
case $1 in
deconfig)
	ip link set "$interface" up
	ip -4 addr flush dev "$interface"
	;;
bound | renew)
	ip -4 addr show dev "$interface" | grep -qF " $ip/$mask " || ip -4 addr flush dev "$interface"
	ip -4 addr replace "$ip/$mask" dev "$interface"
	onlink=
	[ "$mask" = 32 ] && onlink=onlink
	ip -4 route flush exact default dev "$interface"
	for gateway in $router; do
		ip -4 route add default via "$gateway" dev "$interface" $onlink
	done
	;;
esac
for hook in /etc/udhcpc/post-"$1"/*; do
	[ -x "$hook" ] && "$hook"
done
exit 0
`

func (c udhcpc) install(h *dhcpHost) {
	h.t.Helper()
	h.file("udhcpc/uplinkd", h.repository("hooks/udhcpc/uplinkd"), 0o755)
	// It comes to its last line when everything else has ended, and writes down what was done, as dhcpcd's witness does.
	h.file("udhcpc/script", "#!/bin/sh\nroot="+h.dir+"\n"+c.script+"\nstatus=$?\n"+
		`echo "$1 $ip" >>"/run/witness-$interface"`+"\nexit $status\n", 0o755)
	if c.files == nil {
		return
	}
	for name, text := range c.files(h) {
		h.file("etc/udhcpc/"+name, text, 0o755)
	}
	h.bind("etc/udhcpc", "/etc/udhcpc")
}

func (c udhcpc) start(l *dhcpLink) *program {
	_ = os.Remove(witnessFile(l)) // of an earlier start
	args := []string{"-f", "-v", "-i", l.Dev, "-s", l.h.path("udhcpc/script"), "-O", "staticroutes", "-T", "1", "-A", "1"}
	if c.releaseAtExit {
		args = append(args, "-R")
	}
	return l.run("udhcpc", l.h.command("udhcpc", args...))
}

func (udhcpc) leased(l *dhcpLink, a netip.Addr) int { return witnessed(l, a, "bound", "renew") }

func (udhcpc) renew(l *dhcpLink) { l.process.signal(syscall.SIGUSR1) }

// release: after SIGUSR2 udhcpc waits for the next signal.
func (udhcpc) release(l *dhcpLink) {
	l.h.t.Helper()
	before := witnessed(l, netip.Addr{}, "deconfig")
	l.process.signal(syscall.SIGUSR2)
	l.h.eventually("the lease is given back", func() error {
		if witnessed(l, netip.Addr{}, "deconfig") == before {
			return errors.New("no call")
		}
		return nil
	})
	l.process.signal(syscall.SIGTERM)
}

// holds: udhcpc keeps nothing on disk; that it has called its script, and is alive, is all there is.
func (c udhcpc) holds(l *dhcpLink) error {
	if c.leased(l, l.addr()) == 0 || l.process.ended() {
		return errors.New("it has called its script for no lease")
	}
	return nil
}

// manners: the script adds a default route that the kernel refuses while there is another client's.
func (udhcpc) manners() manners {
	return manners{
		main:     "inet route default via 192.0.2.1 dev eth1 table main proto boot\n",
		replaced: "inet route default via 192.0.2.2 dev eth1 table main proto boot\n",
		rogue:    "inet route default via 198.51.100.20 dev eth2 table main proto boot\n",
		shortest: 16 * time.Second, // udhcpc's own least
	}
}
