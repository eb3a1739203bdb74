package systemd

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// feedings runs a watchdog of 30 s for a minute and a half, and gives the seconds at which it was fed and how often it
// complained.
func feedings(t *testing.T, beat func(context.Context) error) (fed []int, complaints int) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		n := NewNotifierWith(func(state string) (bool, error) {
			if state != "WATCHDOG=1" {
				t.Errorf("sent %q", state)
			}
			fed = append(fed, int(time.Since(start).Seconds()))
			return true, nil
		}, 30*time.Second)
		core, logs := observer.New(zap.WarnLevel)
		w := NewWatchdog(n, beat, zap.New(core))
		select {
		case <-w.Ready():
		default:
			t.Error("not ready")
		}
		ctx, cancel := context.WithTimeout(t.Context(), 85*time.Second)
		defer cancel()
		if err := w.Run(ctx); err != nil {
			t.Error(err)
		}
		complaints = logs.Len()
	})
	return fed, complaints
}

func TestWatchdogIsFedWhileTheHeartBeats(t *testing.T) {
	fed, complaints := feedings(t, func(context.Context) error { return nil })
	if diff := cmp.Diff([]int{0, 10, 20, 30, 40, 50, 60, 70, 80}, fed); diff != "" || complaints != 0 {
		t.Errorf("%d complaints, fed at (-want +got):\n%s", complaints, diff)
	}
}

func TestWatchdogStarvesWhileTheHeartHangs(t *testing.T) {
	calls := 0
	fed, complaints := feedings(t, func(ctx context.Context) error {
		if calls++; calls < 3 || calls > 5 {
			return nil
		}
		<-ctx.Done() // hangs from second 20 to second 50
		return ctx.Err()
	})
	if diff := cmp.Diff([]int{0, 10, 50, 60, 70, 80}, fed); diff != "" || complaints != 3 {
		t.Errorf("%d complaints, fed at (-want +got):\n%s", complaints, diff)
	}
}

func TestWatchdogIsNotFedOnErrors(t *testing.T) {
	fed, complaints := feedings(t, func(context.Context) error { return errors.New("stuck") })
	if len(fed) != 0 || complaints != 9 {
		t.Errorf("fed at %v, %d complaints", fed, complaints)
	}
}

func TestWatchdogThatCannotBeFedGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		n := NewNotifierWith(func(string) (bool, error) { tries++; return true, errors.New("gone") }, 30*time.Second)
		core, logs := observer.New(zap.WarnLevel)
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		defer cancel()
		w := NewWatchdog(n, func(context.Context) error { return nil }, zap.New(core))
		if err := w.Run(ctx); err != nil || tries != 2 || logs.Len() != 2 {
			t.Errorf("%d tries, %d complaints, error %v", tries, logs.Len(), err)
		}
	})
}

func TestWatchdogWithoutOneOnlyWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNotifierWith(func(string) (bool, error) { t.Error("fed"); return true, nil }, 0)
		w := NewWatchdog(n, func(context.Context) error { t.Error("asked"); return nil }, zap.NewNop())
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := w.Run(ctx); err != nil || w.String() != "watchdog" {
			t.Error(err)
		}
	})
}
