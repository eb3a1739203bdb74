package control

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
)

const (
	// SocketName is the socket's name in the runtime directory.
	SocketName = "control.sock"
	// Group may read what the daemon knows.
	Group = "uplinkd"

	protocolVersion = 1
	maxRequest      = 4 << 10
	maxAnswer       = 16 << 20 // thousands of uplinks
)

type request struct {
	V   int    `json:"v"`
	Cmd string `json:"cmd"`
}

type answer struct {
	V      int             `json:"v"`
	OK     bool            `json:"ok"`
	Error  string          `json:"error,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
}

func refusal(format string, args ...any) answer {
	return answer{V: protocolVersion, Error: fmt.Sprintf(format, args...)}
}

var errTooLong = errors.New("the line is too long")

// readLine reads one line of at most the reader's buffer, without its end.
func readLine(r *bufio.Reader) ([]byte, error) {
	line, err := r.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return nil, errTooLong
	case errors.Is(err, io.EOF) && len(line) > 0:
		return nil, io.ErrUnexpectedEOF
	case err != nil:
		return nil, err
	}
	return line[:len(line)-1], nil
}

// parseRequest reads a request; the error is for the one who asked.
func parseRequest(line []byte) (request, error) {
	var r request
	if err := json.Unmarshal(line, &r); err != nil {
		return request{}, fmt.Errorf("the request is no JSON object of the known form: %w", err)
	}
	if r.V != protocolVersion {
		return request{}, fmt.Errorf("version %d of the protocol is not spoken here; spoken: %d", r.V, protocolVersion)
	}
	if r.Cmd != "status" && r.Cmd != "flush" {
		return request{}, fmt.Errorf("unknown command %s; known: status, flush", strconv.QuoteToASCII(r.Cmd[:min(len(r.Cmd), 40)]))
	}
	return r, nil
}
