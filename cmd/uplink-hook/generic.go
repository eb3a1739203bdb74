package main

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"github.com/uplinkd/uplinkd/internal/hookwire"
)

const genericUsage = `Usage: uplink-hook generic --interface IF --address ADDR[/LEN] [OPTION...]
       uplink-hook generic --interface IF --delegated PREFIX [OPTION...]
       uplink-hook generic --interface IF --remove [--address ADDR |
                           --delegated PREFIX] [--source NAME]

Tells uplinkd what any client knows of an address, for a client without hooks of
its own in uplinkd. A second call for the same address replaces the first. The
address must be on the link for anything to happen. Exits 0 whatever happens;
what is wrong goes to the system's log, and to standard error if that is a
terminal.

  --interface IF     the link, by its name
  --address ADDR     the address, IPv4 or IPv6, with or without /LEN
  --delegated PREFIX a prefix for the networks behind this host, instead of an
                     address: what comes from it leaves by the link
  --gateway GW       a gateway, the best one first; may be given again
  --dns SERVER       a name server; may be given again
  --mtu BYTES        576 to 9216
  --lifetime SECONDS 4294967295 is for ever
  --route DST,GW     a route that goes with the address: 10.0.0.0/8,192.0.2.1;
                     used as far as classless_routes allows; may be given again
  --source NAME      tells several clients of one link apart: 1 to 15 of a-z,
                     0-9 and -
  --remove           the address or prefix is over; without one, all of the
                     source

Each is also taken as --option=value. At most %d arguments are taken.
`

// checkGeneric looks at a call of the generic client, which a person wrote: a mistake in its form is not for the daemon to
// find. It says whether all is done.
func (h *hook) checkGeneric(args []string) (done bool, err error) {
	if h.generic = args[0] == "generic"; !h.generic {
		return false, nil
	}
	if len(args) == 2 && (args[1] == "--help" || args[1] == "-h") {
		fmt.Fprintf(h.stdout, genericUsage, hookwire.MaxArgs)
		return true, nil
	}
	if err := hookwire.CheckGeneric(args[1:], checkValue); err != nil {
		return false, fmt.Errorf("generic: %w; see uplink-hook generic --help", err)
	}
	return false, nil
}

// checkValue looks at the form of an option's value. What it may mean is for the daemon to say.
func checkValue(option, value string) error {
	switch option {
	case "--address":
		value, _, _ = strings.Cut(value, "/")
		fallthrough
	case "--gateway", "--dns":
		if _, err := netip.ParseAddr(value); err != nil {
			return errors.New("not an address")
		}
	case "--delegated":
		if _, err := netip.ParsePrefix(value); err != nil {
			return errors.New("not a prefix")
		}
	case "--route":
		dst, gw, _ := strings.Cut(value, ",")
		_, dstErr := netip.ParsePrefix(dst)
		if _, gwErr := netip.ParseAddr(gw); dstErr != nil || gwErr != nil {
			return errors.New("not in the form PREFIX,GATEWAY")
		}
	case "--mtu", "--lifetime":
		if _, err := strconv.ParseUint(value, 10, 32); err != nil {
			return errors.New("not a number")
		}
	}
	return nil
}

// tell tells the person at the terminal.
func (h *hook) tell(err error) {
	if h.generic && h.terminal != nil {
		fmt.Fprintln(h.terminal, "uplink-hook:", printable(err.Error()))
	}
}

// terminal is standard error where that is a terminal, else nil: a client's file or pipe is not ours to write to.
func terminal() io.Writer {
	var t syscall.Termios
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, 2, syscall.TCGETS, uintptr(unsafe.Pointer(&t))); errno != 0 {
		return nil
	}
	return os.Stderr
}
