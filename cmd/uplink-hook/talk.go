package main

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/uplinkd/uplinkd/internal/hookwire"
)

// errNoAnswer says that the daemon has the whole message, and did not answer in time.
var errNoAnswer = errors.New("no answer in time")

var errDeadline = errors.New("out of time")

// talk sends an encoded message to the daemon's socket and waits for the reply until the deadline. An error means that the
// daemon may not have the message: it was not there, or died over it, or (errNoAnswer) may do so yet.
//
// It uses the system calls themselves: package net would be a third of the program, and a socket's own timeouts are
// limits that hold in connect(2) as well, where a full backlog blocks.
func talk(path string, message []byte, deadline time.Time) (hookwire.Reply, error) {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return hookwire.Reply{}, fmt.Errorf("make a socket: %w", err)
	}
	defer syscall.Close(fd)
	c := conn{fd: fd, deadline: deadline}
	if err := c.connect(path); err != nil {
		return hookwire.Reply{}, fmt.Errorf("connect to %s: %w", path, err)
	}
	sendErr := c.send(message)
	if sendErr != nil && !errors.Is(sendErr, syscall.EPIPE) { // EPIPE: it may have refused us with an answer
		return hookwire.Reply{}, fmt.Errorf("send to %s: %w", path, sendErr)
	}
	reply, err := hookwire.ReadReply(&c)
	switch {
	case err != nil && sendErr != nil:
		return reply, fmt.Errorf("send to %s: %w", path, sendErr)
	case errors.Is(err, errDeadline):
		return reply, errNoAnswer
	case err != nil:
		return reply, fmt.Errorf("wait for %s: %w", path, err)
	}
	return reply, nil
}

// conn is a blocking stream socket with a deadline.
type conn struct {
	fd       int
	deadline time.Time
}

// arm sets one of the socket's timeouts to what is left of the time.
func (c *conn) arm(option int) error {
	left := time.Until(c.deadline)
	if left < time.Millisecond { // 0 would be no limit at all
		return errDeadline
	}
	tv := syscall.NsecToTimeval(int64(left))
	return syscall.SetsockoptTimeval(c.fd, syscall.SOL_SOCKET, option, &tv)
}

// retry calls f until it is not interrupted by a signal. A timeout of the socket shows as EAGAIN.
func (c *conn) retry(option int, f func() error) error {
	for {
		if err := c.arm(option); err != nil {
			return err
		}
		switch err := f(); {
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.EAGAIN):
			return errDeadline
		default:
			return err
		}
	}
}

func (c *conn) connect(path string) error {
	return c.retry(syscall.SO_SNDTIMEO, func() error { return syscall.Connect(c.fd, &syscall.SockaddrUnix{Name: path}) })
}

func (c *conn) send(b []byte) error {
	for len(b) > 0 {
		n := 0
		err := c.retry(syscall.SO_SNDTIMEO, func() (err error) {
			n, err = syscall.SendmsgN(c.fd, b, nil, nil, syscall.MSG_NOSIGNAL)
			return err
		})
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// Read is that of io.Reader.
func (c *conn) Read(b []byte) (int, error) {
	n := 0
	err := c.retry(syscall.SO_RCVTIMEO, func() (err error) {
		n, err = syscall.Read(c.fd, b)
		return err
	})
	if err != nil {
		return 0, err
	}
	if n == 0 {
		return 0, errClosed
	}
	return n, nil
}

var errClosed = errors.New("closed without an answer")
