// Package state keeps on disk what must survive a restart of uplinkd and what the kernel does not know: the table number
// of every uplink, the leases, and which addresses were held; and it writes the tables' names where iproute2 reads them.
package state
