package stats

import (
	"math"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestBucketsCoverEveryValueInOrderWithAnEighthOfError(t *testing.T) {
	t.Parallel()
	for i := range buckets {
		up := upper(i)
		if bucket(up) != i {
			t.Fatalf("upper(%d) = %d falls into bucket %d", i, up, bucket(up))
		}
		if up != math.MaxUint64 && bucket(up+1) != i+1 {
			t.Fatalf("%d, behind bucket %d, falls into bucket %d", up+1, i, bucket(up+1))
		}
		if up == math.MaxUint64 && i != buckets-1 {
			t.Fatalf("bucket %d of %d is the last one", i, buckets)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.Uint64().Draw(t, "v") >> rapid.IntRange(0, 63).Draw(t, "shift")
		up := upper(bucket(v))
		if up < v {
			t.Fatalf("upper bound %d of %d is smaller", up, v)
		}
		if float64(up-v) > 0.125*float64(v)+0.5 {
			t.Fatalf("upper bound %d of %d is more than 12.5 %% off", up, v)
		}
	})
}

func TestQuantilesAreAtMostAnEighthAboveTheExactOnes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		ds := rapid.SliceOfN(rapid.Int64Range(0, int64(time.Hour)), 1, 300).Draw(t, "durations")
		var h Histogram
		for _, d := range ds {
			h.Record(time.Duration(d))
		}
		slices.Sort(ds)
		q := h.Quantiles()
		if q.Count != uint64(len(ds)) {
			t.Fatalf("count %d, want %d", q.Count, len(ds))
		}
		for _, p := range []struct {
			at  float64
			got time.Duration
		}{{0.50, q.P50}, {0.95, q.P95}, {0.99, q.P99}} {
			exact := ds[int(p.at*float64(len(ds)-1))]
			if int64(p.got) < exact || float64(p.got) > 1.125*float64(exact)+1 {
				t.Fatalf("p%v is %d, exactly %d", p.at*100, p.got, exact)
			}
		}
	})
}

func TestQuantilesOfNothingAreZeroAndNegativeDurationsCountAsZero(t *testing.T) {
	t.Parallel()
	var h Histogram
	if q := h.Quantiles(); q != (Quantiles{}) {
		t.Errorf("got %+v", q)
	}
	h.Record(-time.Second)
	if q := h.Quantiles(); q != (Quantiles{Count: 1}) {
		t.Errorf("got %+v", q)
	}
	h.Record(math.MaxInt64)
	if q := h.Quantiles(); q.Count != 2 || q.P99 < 0 {
		t.Errorf("got %+v", q)
	}
}

// numbered returns totals in which every field is different.
func numbered(first int64) Totals {
	var t Totals
	v := reflect.ValueOf(&t).Elem()
	for i := range v.NumField() {
		v.Field(i).SetInt(first + int64(i))
	}
	return t
}

func TestAddAndSubReachEveryField(t *testing.T) {
	t.Parallel()
	a, b := numbered(100), numbered(1)
	var sum Totals
	v := reflect.ValueOf(&sum).Elem()
	for i := range v.NumField() {
		v.Field(i).SetInt(101 + 2*int64(i))
	}
	if diff := cmp.Diff(sum, a.Add(b)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(a, sum.Sub(b)); diff != "" {
		t.Error(diff)
	}
}

func TestReadReachesEveryCounterAndTurnsTimesIntoMicroseconds(t *testing.T) {
	t.Parallel()
	var c Counters
	var wg sync.WaitGroup
	v := reflect.ValueOf(&c).Elem()
	for i := range v.NumField() {
		for range 4 {
			wg.Go(func() {
				v.Field(i).Addr().Interface().(interface{ Add(int64) int64 }).Add(int64(i+1) * 1000)
			})
		}
	}
	wg.Wait()
	got := reflect.ValueOf(c.Read())
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		want := int64(i+1) * 4000
		if name == "XactTime" || name == "QueryTime" || name == "WaitTime" {
			want /= 1000
		}
		if n := got.FieldByName(name).Int(); n != want {
			t.Errorf("%s is %d, want %d", name, n, want)
		}
	}
}

func TestAveragesArePerSecondAndTimesPerEvent(t *testing.T) {
	t.Parallel()
	got := Totals{
		ServerAssignments: 4, Xacts: 10, Queries: 20, BytesReceived: 200, BytesSent: 400, XactTime: 1000, QueryTime: 600, WaitTime: 40,
		ClientParses: 2, ServerParses: 4, Binds: 6, Logins: 8,
	}.Average(2 * time.Second)
	want := Averages{
		ServerAssignments: 2, Xacts: 5, Queries: 10, BytesReceived: 100, BytesSent: 200, XactTime: 100, QueryTime: 30, WaitTime: 10,
		ClientParses: 1, ServerParses: 2, Binds: 3, Logins: 4,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got := (Totals{XactTime: 5}).Average(0); got != (Averages{}) {
		t.Errorf("without events: %+v", got)
	}
}

func TestRecordingAllocatesNothing(t *testing.T) {
	var h Histogram
	if n := testing.AllocsPerRun(100, func() { h.Record(time.Millisecond) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
