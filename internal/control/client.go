package control

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// ErrNotRunning is wrapped by Dial's error where no daemon answers.
var ErrNotRunning = errors.New("uplinkd is not running")

// patience is how long a client waits where its context sets no deadline.
const patience = 15 * time.Second

// Client asks a running daemon. It is for one goroutine.
type Client struct {
	conn  net.Conn
	lines *bufio.Scanner
}

// Dial connects to the daemon of a runtime directory. The error is one line that says what to do.
func Dial(runtimeDir string) (*Client, error) {
	path := socketPath(runtimeDir)
	conn, err := net.DialTimeout("unix", path, patience)
	if err != nil {
		return nil, dialError(path, err)
	}
	lines := bufio.NewScanner(conn)
	lines.Buffer(nil, maxAnswer)
	return &Client{conn: conn, lines: lines}, nil
}

// dialError says what to do about a connect that failed (connect(2)).
func dialError(path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf(`%w (no %s): start it with "systemctl start uplinkd", or name its directory with --runtime-dir`,
			ErrNotRunning, path)
	case errors.Is(err, unix.ECONNREFUSED):
		return fmt.Errorf(`%w (nobody answers on %s): start it with "systemctl start uplinkd"`, ErrNotRunning, path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("connect to %s: permission denied: run as root or join group %s", path, Group)
	}
	return fmt.Errorf("connect to uplinkd: %w", err)
}

// Close ends the connection.
func (c *Client) Close() error { return c.conn.Close() }

// Status asks what the daemon knows.
func (c *Client) Status(ctx context.Context) (Status, error) {
	result, err := c.ask(ctx, "status")
	if err != nil {
		return Status{}, err
	}
	var s Status
	if err := json.Unmarshal(result, &s); err != nil {
		return Status{}, fmt.Errorf("read uplinkd's status: %w", err)
	}
	if s.Schema != SchemaVersion {
		return Status{}, fmt.Errorf("uplinkd's status has schema %d, known here is %d: update uplinkctl", s.Schema, SchemaVersion)
	}
	return s, nil
}

// Flush has the daemon remove all that is ours from the kernel; it stays so until a reload or restart.
func (c *Client) Flush(ctx context.Context) error {
	_, err := c.ask(ctx, "flush")
	return err
}

func (c *Client) ask(ctx context.Context, cmd string) (json.RawMessage, error) {
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(patience)
	}
	if err := c.conn.SetDeadline(deadline); err != nil {
		return nil, fmt.Errorf("ask uplinkd for %s: %w", cmd, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = c.conn.Close() })
	defer stop()
	a, err := c.exchange(cmd)
	if err != nil {
		// The addresses in it would only mislead: the socket had another name when it was bound.
		if op, ok := errors.AsType[*net.OpError](err); ok {
			err = op.Err
		}
		return nil, fmt.Errorf("ask uplinkd for %s: %w", cmd, cmp.Or(ctx.Err(), err))
	}
	if !a.OK {
		return nil, fmt.Errorf("uplinkd refuses: %s", a.Error)
	}
	return a.Result, nil
}

func (c *Client) exchange(cmd string) (answer, error) {
	data, err := json.Marshal(request{V: protocolVersion, Cmd: cmd})
	if err != nil {
		return answer{}, err
	}
	// A daemon that is full answers and closes without reading: what it said counts more than the failed write.
	_, writeErr := c.conn.Write(append(data, '\n'))
	if !c.lines.Scan() {
		return answer{}, cmp.Or(c.lines.Err(), writeErr, io.ErrUnexpectedEOF)
	}
	var a answer
	if err := json.Unmarshal(c.lines.Bytes(), &a); err != nil {
		return answer{}, err
	}
	if a.V != protocolVersion {
		return answer{}, fmt.Errorf("it answers in version %d of the protocol, known here is %d: update uplinkctl", a.V, protocolVersion)
	}
	return a, nil
}
