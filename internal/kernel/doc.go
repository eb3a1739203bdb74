// Package kernel speaks netlink for the daemon, all of it, in one network namespace: it reads the kernel's links, addresses,
// routes and rules (Snapshot), watches them (Run, Events) and changes routes and rules (Apply).
//
// The kernel's own manners stop here. Dumps that lose entries are repeated, deletes that would hit a neighbour are made exact,
// routes of others are never overwritten, and a full receive buffer is only one more reason to look again. The decoders
// are pure functions over bytes, which never panic.
package kernel
