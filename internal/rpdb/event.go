package rpdb

import "fmt"

// Event is a hint that something in the kernel changed: look again. It never carries the change itself; several hints
// may be merged into one, and none is about what we did ourselves.
type Event struct {
	Links, Addresses, Routes, Rules bool
	Overrun                         bool      // the receive buffer overflowed: anything may have changed
	Restless                        bool      // others changed things faster than a snapshot could be taken: look again later
	By                              []Culprit // who deleted rules or routes of ours, as far as it is known
}

// Culprit is another program that deleted something of ours.
type Culprit struct {
	Port uint32 // the netlink port id of the request (nlmsg_pid), for most programs their pid
	Comm string // /proc/PORT/comm, printable and cut; empty where the program has ended or Port is no pid
	What string // what it deleted: "rule" or "route"
}

// Merge adds another hint to this one. At most 8 culprits are kept, each once.
func (e *Event) Merge(o Event) {
	e.Links = e.Links || o.Links
	e.Addresses = e.Addresses || o.Addresses
	e.Routes = e.Routes || o.Routes
	e.Rules = e.Rules || o.Rules
	e.Overrun = e.Overrun || o.Overrun
	e.Restless = e.Restless || o.Restless
	for _, c := range o.By {
		if len(e.By) < 8 && !contains(e.By, c) {
			e.By = append(e.By, c)
		}
	}
}

func contains(cs []Culprit, c Culprit) bool {
	for _, have := range cs {
		if have == c {
			return true
		}
	}
	return false
}

// String names the program for a log line.
func (c Culprit) String() string {
	if c.Comm == "" {
		return fmt.Sprintf("port %d (%s)", c.Port, c.What)
	}
	return fmt.Sprintf("%s (pid %d, %s)", c.Comm, c.Port, c.What)
}
