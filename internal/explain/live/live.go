// Package live puts a question to the kernel of this network namespace and has internal/explain walk it; it changes nothing and
// needs no privilege.
package live

import (
	"context"
	"errors"
	"fmt"

	"github.com/uplinkd/uplinkd/internal/explain"
	"github.com/uplinkd/uplinkd/internal/kernel"
	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// tries is how often a walk and the kernel may disagree before it counts: somebody may have changed a route in between.
const tries = 3

// Usage is an error of what was asked, not of asking.
type Usage struct{ error }

// Explain reads the rules and routes, walks them, and asks the kernel the same. Where the two disagree it looks again. table
// gives a table's name by its number.
func Explain(ctx context.Context, q explain.Question, table func(uint32) string) (answer explain.Answer, err error) {
	r, err := kernel.OpenReader()
	if err != nil {
		return answer, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	links, err := r.Links()
	if err != nil {
		return answer, err
	}
	if err := q.Resolve(links); err != nil {
		return answer, Usage{err}
	}
	for range tries {
		if answer, err = once(ctx, r, q, table); err != nil || answer.Differs == "" {
			return answer, err
		}
	}
	return answer, nil
}

func once(ctx context.Context, r *kernel.Reader, q explain.Question, table func(uint32) string) (explain.Answer, error) {
	db, err := r.Database(ctx, q.Flow)
	if err != nil {
		return explain.Answer{}, err
	}
	walk := explain.Do(&db, q.Flow)
	found, asked := r.RouteGet(q.Flow)
	return explain.Report(&db, q, &walk, found, asked, table), nil
}

// TableText is a table's name by names, or the kernel's own, or its number.
func TableText(names map[uint32]string) func(uint32) string {
	return func(t uint32) string {
		if name, ok := names[t]; ok {
			return fmt.Sprintf("%s (%d)", rpdb.Printable(name), t)
		}
		return rpdb.TableText(t)
	}
}
