package integration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"pgdrover/internal/catalog"
	"pgdrover/internal/pgtest"
)

// bank is a shop whose orders are accounts: money is moved between shards, and each transfer leaves a row on both.
type bank struct {
	*shop
	tables string // configuration of its own database "bank", whose recovery_user is no superuser

	mu    sync.Mutex
	next  int
	acked map[int]bool // transfers that were acknowledged
}

const (
	accounts = 30
	balance  = 100
)

// startBank starts a bank; shard b is reached through a proxy.
func startBank(tb testing.TB) (*bank, *pgtest.Proxy) {
	tb.Helper()
	// What is acknowledged has to be there after a crash, as with PostgreSQL's own defaults.
	b := &bank{shop: startShopWith(tb, 3, "", "", pgtest.WithSetting("synchronous_commit", "on")), acked: map[int]bool{}}
	b.shop.Close() // nobody else is to finish what is interrupted
	proxy := b.pg.Proxy(tb)
	for _, db := range b.databases() {
		b.pg.MustExec(tb, db, catalog.TwoPhaseSQL("drover", []string{"app"})...)
	}
	var toml strings.Builder
	fmt.Fprintf(&toml, "[users.drover]\npassword = \"drover\"\n[databases.bank]\nhost = \"127.0.0.1\"\nport = %d\nrecovery_user = \"drover\"\n", b.pg.Port)
	for _, name := range b.shards {
		fmt.Fprintf(&toml, "[[databases.bank.shards]]\nname = %q\ndbname = %q\n", name, "shop_"+name)
		if name == "b" {
			fmt.Fprintf(&toml, "port = %d\n", proxy.Port)
		}
	}
	toml.WriteString("[databases.bank.keys.customer]\ntype = \"bigint\"\ncolumns = { orders = \"customer_id\", order_items = \"customer_id\" }\n")
	b.tables = trustUsers + toml.String()
	return b, proxy
}

// fill opens the accounts.
func (b *bank) fill(ctx context.Context, tb testing.TB, c *pgx.Conn) {
	tb.Helper()
	for _, db := range b.databases() {
		b.pg.MustExec(tb, db, "TRUNCATE orders, order_items")
	}
	b.acked = map[int]bool{}
	for i := range accounts {
		if _, err := c.Exec(ctx, "INSERT INTO orders (customer_id, id, total) VALUES ($1, 0, $2)", i, balance); err != nil {
			tb.Fatal(err)
		}
	}
}

// transfer moves money between two accounts.
func (b *bank) transfer(ctx context.Context, c *pgx.Conn) error {
	b.mu.Lock()
	b.next++
	id := b.next
	b.mu.Unlock()
	from, to := id*7%accounts, (id*11+1)%accounts
	if from == to {
		to = (to + 1) % accounts
	}
	if from > to {
		from, to = to, from // so that transfers do not wait for each other in a circle
	}
	tx, err := c.Begin(ctx)
	if err != nil {
		return err
	}
	for line, account := range []int{from, to} {
		sum := (2*line - 1) * (id%5 + 1)
		if _, err = tx.Exec(ctx, "UPDATE orders SET total = total + $2 WHERE customer_id = $1 AND id = 0", account, sum); err == nil {
			_, err = tx.Exec(ctx, "INSERT INTO order_items (customer_id, order_id, line) VALUES ($1, $2, $3)", account, id, line)
		}
		if err != nil {
			_ = tx.Rollback(ctx)
			return err
		}
	}
	if err := tx.Commit(ctx); err != nil {
		return err
	}
	b.mu.Lock()
	b.acked[id] = true
	b.mu.Unlock()
	return nil
}

// load transfers from n clients until their connections are lost or stop is called, which returns when all have ended.
func (b *bank) load(ctx context.Context, at *bouncer, n int) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			c, err := pgx.Connect(ctx, at.DSN("bank", "app"))
			if err != nil {
				return
			}
			defer func() { _ = c.Close(context.Background()) }()
			for ctx.Err() == nil && !c.IsClosed() {
				_ = b.transfer(ctx, c)
			}
		})
	}
	return func() { cancel(); wg.Wait() }
}

// more waits until so many more transfers have been acknowledged.
func (b *bank) more(tb testing.TB, n int) {
	tb.Helper()
	done := func() int {
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(b.acked)
	}
	want := done() + n
	pgtest.Eventually(tb, patience, func() error {
		if n := done(); n < want {
			return fmt.Errorf("%d transfers were made, want %d", n, want)
		}
		return nil
	})
}

// settled waits until nothing is prepared any more, and checks that no transfer is half done and none that was acknowledged is lost.
func (b *bank) settled(tb testing.TB) {
	tb.Helper()
	atRest(tb, b.pg)
	sum := 0
	rows := map[int]int{}
	for _, db := range b.databases() {
		n, err := strconv.Atoi(b.pg.MustValue(tb, db, "SELECT coalesce(sum(total), 0)::int FROM orders"))
		if err != nil {
			tb.Fatal(err)
		}
		sum += n
		for _, id := range strings.Fields(b.pg.MustValue(tb, db, "SELECT coalesce(string_agg(order_id::text, ' '), '') FROM order_items")) {
			n, _ := strconv.Atoi(id)
			rows[n]++
		}
	}
	for _, db := range b.databases() { // a transfer that was carried out twice leaves one row
		if n := b.pg.MustValue(tb, db, wrongAccounts); n != "0" {
			tb.Errorf("%s: %s accounts do not have what their transfers have left", db, n)
		}
	}
	if sum != accounts*balance {
		tb.Errorf("the accounts have %d, want %d", sum, accounts*balance)
	}
	for id, n := range rows {
		if n != 2 {
			tb.Errorf("transfer %d is on %d accounts", id, n)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for id := range b.acked {
		if rows[id] != 2 {
			tb.Errorf("transfer %d was acknowledged and is lost", id)
		}
	}
}

// wrongAccounts counts the accounts that do not have what their transfers have left, see transfer.
var wrongAccounts = fmt.Sprintf(`SELECT count(*) FROM orders o WHERE total <> %d + (SELECT coalesce(sum((2 * line - 1) * (order_id %% 5 + 1)), 0) FROM order_items i
WHERE i.customer_id = o.customer_id)`, balance)

// crashAfter is how often a step is passed before the crash: transfers have to be on their way and behind them.
const crashAfter = 300

// startKilled starts a pgdrover of its own that ends at a step of a two-phase commit, "" for none.
func (b *bank) startKilled(tb testing.TB, path, at string) (node *bouncer, ended <-chan error) {
	tb.Helper()
	dir := tb.TempDir()
	node = &bouncer{tb: tb, Port: freePort(tb), Dir: dir, Config: dir + "/config.toml", Log: dir + "/log"}
	node.Write("auth_type = \"trust\"\npool_mode = \"transaction\"\nunix_socket_dir = \"\"\n", b.tables)
	text, err := os.ReadFile(node.Config)
	if err != nil {
		tb.Fatal(err)
	}
	save(tb, node.Config, strings.Replace(string(text), fmt.Sprintf("unix_socket_dir = %q\n", dir), "", 1))
	cmd := exec.Command(path, "-q", node.Config)
	cmd.Env = append(os.Environ(), "PGDROVER_KILL_AT="+at)
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	ch := make(chan error, 1)
	go func() { ch <- cmd.Wait() }()
	tb.Cleanup(func() { _ = cmd.Process.Kill() })
	pgtest.Eventually(tb, patience, func() error {
		_, stderr, code := runProgram(tb, path, "health", node.Config)
		if code != 0 {
			return errors.New(stderr)
		}
		return nil
	})
	return node, ch
}

func TestATransferSurvivesACrashAtEveryStep(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(context.Background(), 5*time.Minute)
	defer stop()
	b, _ := startBank(t)
	path := buildProgram(t)
	for _, step := range []string{"before decide", "decided", "prepared", "all prepared", "committed", "finished one"} {
		t.Run(step, func(t *testing.T) {
			first, ended := b.startKilled(t, path, fmt.Sprintf("%s:%d", step, crashAfter))
			c, err := pgx.Connect(ctx, first.DSN("bank", "app"))
			if err != nil {
				t.Fatal(err)
			}
			b.fill(ctx, t, c)
			_ = c.Close(ctx)
			stop := b.load(ctx, first, 4)
			defer stop()
			select {
			case <-ended:
			case <-ctx.Done():
				t.Fatal("it was not killed")
			}
			stop()
			if n := len(b.acked); n < crashAfter/2 {
				t.Errorf("%d transfers were acknowledged before the crash, want hundreds", n)
			}
			second, _ := b.startKilled(t, path, "")
			third, _ := b.startKilled(t, path, "") // two that recover at the same time
			b.settled(t)
			for _, node := range []*bouncer{second, third} {
				c, err := pgx.Connect(ctx, node.DSN("bank", "app"))
				if err != nil {
					t.Fatal(err)
				}
				if err := b.transfer(ctx, c); err != nil {
					t.Error(err)
				}
				_ = c.Close(ctx)
			}
			b.settled(t)
		})
	}
}

func TestATransferSurvivesLostConnections(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Minute)
	defer stop()
	b, proxy := startBank(t)
	node := startBouncer(t, "auth_type = \"trust\"\npool_mode = \"transaction\"\nserver_login_retry = 0.1\n", b.tables)
	b.fill(ctx, t, node.Connect(ctx, "bank", "app"))
	// A transfer of shard b takes some hundred bytes each way: cuts at these offsets fall into all of its steps.
	for n := int64(40); n < 1400; n += 85 {
		end, cuts := b.load(ctx, node, 2), proxy.Cuts()
		b.more(t, 5)
		direction := pgtest.Direction(n / 85 % 2)
		proxy.CutAfter(direction, n, pgtest.Ending(n/170%2))
		pgtest.Eventually(t, patience, func() error {
			if proxy.Cuts() == cuts {
				return errors.New("no connection was cut")
			}
			return nil
		})
		proxy.NoCut()
		end()
	}
	b.settled(t)
	end := b.load(ctx, node, 3)
	b.more(t, 20)
	if err := b.pg.Kill(); err != nil { // every shard
		t.Fatal(err)
	}
	end()
	if err := b.pg.Start(ctx); err != nil {
		t.Fatal(err)
	}
	b.settled(t)
}

func TestTheSecondWritingShardIsRefusedWithoutTwoPhaseCommit(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	s := startShop(t, 3, "", "")
	s.pg.MustExec(t, "shop_b", "DROP SCHEMA pgdrover CASCADE")
	c := s.Connect(ctx, "shop", "app")
	mustRun(ctx, t, c, "BEGIN")
	var refused error
	for i := 1; i <= 20 && refused == nil; i++ {
		_, refused = run(ctx, c, fmt.Sprintf("INSERT INTO customers VALUES (%d, 'x')", i))
	}
	pe := wantError(t, refused, "0A000", "shard \"b\" cannot take part")
	if !strings.Contains(pe.Detail, "pgdrover.decide") || !strings.Contains(pe.Hint, "INSTALL TWO PHASE") {
		t.Errorf("detail %q, hint %q", pe.Detail, pe.Hint)
	}
	mustRun(ctx, t, c, "ROLLBACK")
	if got := mustRun(ctx, t, c, "SELECT 1"); got != "1" {
		t.Errorf("the session is not well: %q", got)
	}
}
