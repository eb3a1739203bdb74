// Package control is the operator's door to the running daemon: a Unix socket, DIR/control.sock, on which each line is one
// request or one answer in JSON.
//
// A request is {"v":1,"cmd":"status"} or {"v":1,"cmd":"flush"}. An answer is {"v":1,"ok":true,"result":...} or
// {"v":1,"ok":false,"error":"..."}. Any number of requests may follow each other on one connection, each answered before
// the next is read; one that is idle for long is closed. Members that one side does not know are ignored: additions do
// not change the version.
//
// Who may connect may read: root and group uplinkd, by the socket's mode. What changes something takes root, or the user
// that the daemon runs as, by SO_PEERCRED (unix(7)).
package control
