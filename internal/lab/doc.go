// Package lab builds small internets of network namespaces for tests and for the demo: a host with three uplinks, the
// providers behind them, which drop packets whose source address is not theirs, a host in the Internet and one in the LAN.
//
// It has what is needed to live in it, in process and with no external program: DHCP servers and clients, echo servers,
// and probes that judge by packets that arrive.
package lab
