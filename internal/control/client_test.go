package control

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestDialError(t *testing.T) {
	tests := []struct {
		err        error
		want       string
		notRunning bool
	}{
		{unix.ENOENT, `uplinkd is not running (no /run/s): start it with "systemctl start uplinkd", or name its directory with --runtime-dir`, true},
		{unix.ECONNREFUSED, `uplinkd is not running (nobody answers on /run/s): start it with "systemctl start uplinkd"`, true},
		{unix.EACCES, "connect to /run/s: permission denied: run as root or join group uplinkd", false},
		{unix.EPROTOTYPE, "connect to uplinkd: dial unix: protocol wrong type for socket", false},
	}
	for _, tt := range tests {
		err := dialError("/run/s", &net.OpError{Op: "dial", Net: "unix", Err: tt.err})
		if err.Error() != tt.want || errors.Is(err, ErrNotRunning) != tt.notRunning {
			t.Errorf("%v gave %q", tt.err, err)
		}
	}
}

// answerWith is a daemon that answers the first request with given bytes and closes.
func answerWith(t *testing.T, bytes string) *Client {
	t.Helper()
	dir := shortDir(t)
	l, err := listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = conn.Read(make([]byte, maxRequest))
		_, _ = conn.Write([]byte(bytes))
	}()
	return dial(t, dir)
}

func TestClientAgainstStrangeDaemons(t *testing.T) {
	tests := map[string]struct{ answer, want string }{
		"closes":             {"", "ask uplinkd for status: unexpected EOF"},
		"no JSON":            {"HTTP/1.1 200 OK\n", "ask uplinkd for status: invalid character 'H' looking for beginning of value"},
		"another version":    {`{"v":2,"ok":true}` + "\n", "ask uplinkd for status: it answers in version 2 of the protocol, known here is 1: update uplinkctl"},
		"another schema":     {`{"v":1,"ok":true,"result":{"schema":2}}` + "\n", "uplinkd's status has schema 2, known here is 1: update uplinkctl"},
		"no result":          {`{"v":1,"ok":true}` + "\n", "read uplinkd's status: unexpected end of JSON input"},
		"too much":           {strings.Repeat("x", maxAnswer+1) + "\n", "ask uplinkd for status: bufio.Scanner: token too long"},
		"a wrong type":       {`{"v":1,"ok":true,"result":[]}` + "\n", "read uplinkd's status: json: cannot unmarshal array"},
		"refuses":            {`{"v":1,"ok":false,"error":"busy"}` + "\n", "uplinkd refuses: busy"},
		"additions are fine": {`{"v":1,"ok":true,"more":1,"result":{"schema":1,"more":{}}}` + "\n", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := answerWith(t, tt.answer).Status(t.Context())
			switch {
			case tt.want == "" && err != nil:
				t.Error(err)
			case tt.want != "" && (err == nil || !strings.HasPrefix(err.Error(), tt.want)):
				t.Errorf("error %v, want %s", err, tt.want)
			}
			if tt.want == "ask uplinkd for status: unexpected EOF" && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%v is not io.ErrUnexpectedEOF", err)
			}
		})
	}
}
