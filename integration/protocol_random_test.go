package integration

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestNoAnswerReachesAnotherClient has many clients on few servers say random valid things whose answers all carry the
// client's own number, and small caches of prepared statements.
func TestNoAnswerReachesAnotherClient(t *testing.T) {
	t.Parallel()
	l := newLab(t, "max_prepared_statements = 3\n")
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	end := time.Now().Add(3 * time.Second)
	var wg sync.WaitGroup
	for id := range 12 {
		variant := []string{"tx", "robin", "robin"}[id%3]
		c := l.dial(t, variant)
		if id%4 == 0 {
			c.split = rand.New(rand.NewPCG(seed, uint64(id)))
		}
		wg.Go(func() { wander(t, c, id, rand.New(rand.NewPCG(seed, uint64(id)+1000)), end) })
	}
	wg.Wait()
}

// wander says random things and checks each answer. A mark is "<id>.<number>".
func wander(t *testing.T, c *rawClient, id int, rnd *rand.Rand, end time.Time) {
	if got := c.say(fmt.Sprintf("Q SET application_name = 'client %d'", id)); !strings.HasSuffix(got, "Z(I)") {
		t.Errorf("client %d: %s", id, got)
		return
	}
	names := map[string]bool{}
	for n := 0; time.Now().Before(end) && !t.Failed(); n++ {
		var say, want []string
		await := ""
		mark := func() string { n++; return fmt.Sprintf("%d.%d", id, n) }
		for range 1 + rnd.IntN(4) {
			m := mark()
			row := fmt.Sprintf("D(%s) C(SELECT 1)", m)
			switch rnd.IntN(9) {
			case 0:
				say = append(say, "Q SELECT '"+m+"' AS x")
				want = append(want, "T(x:25) "+row+" Z(I)")
			case 1:
				say = append(say, "P - SELECT $1::text", "B - - "+m, "E -", "S")
				want = append(want, "1 2 "+row+" Z(I)")
			case 2, 3, 4: // equal and different texts under few names
				name, own := fmt.Sprintf("s%d", rnd.IntN(4)), ""
				if name == "s3" {
					own = fmt.Sprintf(" || ':%d'", id)
				}
				head := ""
				if !names[name] {
					say, head = append(say, fmt.Sprintf("P %s SELECT $1::text%s AS %s", name, own, name)), "1 "
					names[name] = true
				}
				say = append(say, "B - "+name+" "+m, "E -", "S")
				if own != "" {
					row = fmt.Sprintf("D(%s:%d) C(SELECT 1)", m, id)
				}
				want = append(want, head+"2 "+row+" Z(I)")
			case 5:
				name := fmt.Sprintf("s%d", rnd.IntN(4))
				say, want = append(say, "CS "+name, "S"), append(want, "3 Z(I)")
				delete(names, name)
			case 6: // an error in the middle, with a mark
				say = append(say, "P - SELECT ('"+m+"' || $1)::int", "B - - x", "E -", "B - - y", "S")
				want = append(want, `1 E(SERROR; C22P02; Minvalid input syntax for type integer: "`+m+`x") Z(I)`)
			case 7:
				say = append(say, "Q BEGIN", "Q SELECT current_setting('application_name') || '"+m+"' AS x", "Q COMMIT")
				want = append(want, fmt.Sprintf("C(BEGIN) Z(T) T(x:25) D(client %d%s) C(SELECT 1) Z(T) C(COMMIT) Z(I)", id, m))
				await += "ZZ"
			case 8:
				say = append(say, "Q COPY (SELECT '"+m+"') TO STDOUT")
				want = append(want, "H(0,1) d("+m+"\\n) c C(COPY 1) Z(I)")
			}
			await += "Z"
		}
		p := encode(t, say...)
		if err := c.tryWrite(p); err != nil {
			t.Errorf("client %d: %v", id, err)
			return
		}
		if got := c.until(await); got != strings.Join(want, " ") {
			t.Errorf("client %d said %q\n got %s\nwant %s", id, say, got, strings.Join(want, " "))
			return
		}
	}
}
