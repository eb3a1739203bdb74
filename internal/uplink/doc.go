// Package uplink finds a host's uplinks: from the links and addresses that the kernel has, the gateways that leases,
// routes and the configuration give, and what was known before.
//
// It is pure. The same input gives the same uplinks, in whatever order the input came to be.
package uplink
