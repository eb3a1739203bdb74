// Package testnet makes network namespaces without root and without any external program, for tests, the lab and the demo.
//
// A test binary (or the demo) re-executes itself in a user, network and mount namespace of its own (Main, Isolate);
// there it may do to the network what root may, and nothing of it is ever seen outside. In it, Open makes further network
// namespaces, which Veth ties together. State reads rules and routes without help from the code under test: it is the judge.
//
// Its API has two layers: methods of NS return errors and know nothing of testing; the functions that take a
// testing.TB end the test.
package testnet
