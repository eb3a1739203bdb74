package hookwire

import "fmt"

// NetNS tells network namespaces apart: the device and the inode of a process's /proc/PID/ns/net, which two processes have
// in common if and only if they are in one namespace (namespaces(7)). The zero value is an unknown one.
type NetNS struct {
	Dev, Ino uint64 // st_dev and st_ino of stat(2)
}

// Other says that the two are different namespaces. Where one of the two is not known it says no: a hook that cannot read
// /proc must still be heard.
func (n NetNS) Other(m NetNS) bool {
	var unknown NetNS
	return n != unknown && m != unknown && n != m
}

// String is as ls(1) and lsns(8) name a namespace, by the inode alone; "unknown" for the zero value.
func (n NetNS) String() string {
	if n == (NetNS{}) {
		return "unknown"
	}
	return fmt.Sprintf("net:[%d]", n.Ino)
}
