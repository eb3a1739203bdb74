package hookwire

// managers are the lines of the network managers, the VPNs, and whatever a person scripts.
func managers() []client {
	return []client{
		{
			// NetworkManager-dispatcher(8): the interface and the action. DEVICE_IFACE is only to be compared with: of a modem
			// it is the control device.
			name: "networkmanager",
			keys: []string{
				"NM_DISPATCHER_ACTION", "CONNECTION_EXTERNAL", "DEVICE_IFACE", "DEVICE_IP_IFACE", "VPN_IP_IFACE",
				"IP4_ADDRESS_#", "IP4_GATEWAY", "IP4_NAMESERVERS", "IP6_ADDRESS_#", "IP6_GATEWAY", "IP6_NAMESERVERS",
				"VPN_IP4_ADDRESS_#", "VPN_IP4_GATEWAY", "VPN_IP4_NAMESERVERS",
				"VPN_IP6_ADDRESS_#", "VPN_IP6_GATEWAY", "VPN_IP6_NAMESERVERS",
				"DHCP4_IP_ADDRESS", "DHCP4_ROUTERS", "DHCP4_RFC3442_CLASSLESS_STATIC_ROUTES",
				"DHCP4_INTERFACE_MTU", "DHCP4_DHCP_LEASE_TIME",
			},
			ifaceArg: 1,
			ifaceKey: []string{"VPN_IP_IFACE", "DEVICE_IP_IFACE"},
			idleArg:  2,
			idle:     []string{"hostname", "connectivity-change", "dns-change", "device-add", "device-delete"},
		},
		{
			name:     "networkd-dispatcher", // networkd-dispatcher(8)
			keys:     []string{"IFACE", "STATE"},
			ifaceKey: []string{"IFACE"},
		},
		{
			name: "ifupdown", // interfaces(5)
			keys: []string{
				"IFACE", "METHOD", "PHASE", "ADDRFAM", "IF_ADDRESS", "IF_NETMASK", "IF_GATEWAY", "IF_MTU", "IF_DNS_NAMESERVERS",
			},
			ifaceKey: []string{"IFACE"},
			idleKey:  "METHOD",
			idle:     []string{"manual", "loopback", "none", "ppp", "NetworkManager"},
		},
		{
			name: "openvpn", // openvpn(8), "SCRIPTING AND ENVIRONMENTAL VARIABLES"
			keys: []string{
				"script_type", "script_context", "dev", "tun_mtu", "foreign_option_#",
				"ifconfig_local", "ifconfig_netmask", "ifconfig_remote", "route_vpn_gateway",
				"ifconfig_ipv6_local", "ifconfig_ipv6_netbits", "ifconfig_ipv6_remote",
				"route_network_#", "route_netmask_#", "route_gateway_#", "route_ipv6_network_#", "route_ipv6_gateway_#",
			},
			ifaceKey: []string{"dev"},
			idleKey:  "script_type",
			idle:     []string{"up", "ipchange"},
		},
		{
			name:     "wg-quick", // wg-quick(8): up or down, and %i
			ifaceArg: 2,
		},
		{
			name:    "generic",
			options: true,
		},
	}
}
