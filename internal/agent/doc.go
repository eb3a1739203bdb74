// Package agent is the one goroutine that owns all state: it takes what hooks, the kernel's events and the operator
// say, and makes the kernel hold what follows from it.
//
// It is level-triggered: an event only makes it look again, and every look ends in the same straight line: snapshot,
// uplinks, plan, diff, apply. A lease is the one thing that it knows and the kernel does not, so that it is kept.
package agent
