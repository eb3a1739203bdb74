// Package e2e runs the built programs with real clients: dhclient, dhcpcd, udhcpc, NetworkManager, systemd-networkd and their
// servers in network namespaces, and pppd on a whole kernel of its own under User-Mode Linux, since the kernels of containers
// and test machines often lack PPP.
package e2e
