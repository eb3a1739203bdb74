// Package scenario holds the scripts that say what uplinkd does: a host, what happens to it, and the rules and routes
// that must be there afterwards. Each runs on the kernel in memory and on the real one, with the same agent.
package scenario
