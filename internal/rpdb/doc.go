// Package rpdb holds the words of the kernel's routing policy database: rules, routes, links and addresses as plain
// comparable values, their text as iproute2 prints it, and the difference between two states as ordered operations.
//
// It is pure: it knows no netlink and does no I/O.
package rpdb
