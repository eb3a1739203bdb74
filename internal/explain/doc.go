// Package explain walks the routing policy database as the kernel does, and says at each step why: which rule matches a packet
// or which selector keeps it from matching, which route of which table wins, what is suppressed. It is pure; whoever asks brings
// the database and the kernel's own answer, and Compare says where the two disagree.
//
// The walk follows net/core/fib_rules.c (fib_rules_lookup), net/ipv4/{fib_rules,fib_trie,fib_semantics,route}.c and
// net/ipv6/{fib6_rules,ip6_fib,route}.c of Linux 6.18.
package explain
