package lease

// SourceRA is what routers advertise (RFC 4861 section 4.2), as the kernel passes it on or as it was read off the link: leases
// about prefixes, never about addresses. What dhcpcd says of its own is SourceDhcpcdRA.
const SourceRA Source = "ra"
