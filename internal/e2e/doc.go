// Package e2e runs the built programs with real clients on a whole kernel of its own, under User-Mode Linux: PPP and
// PPPoE, which the kernels of containers and test machines often lack.
package e2e
