package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/rs/zerolog"

	"pgdrover/admin"
	"pgdrover/internal/config"
	"pgdrover/internal/logging"
	"pgdrover/internal/procs"
	"pgdrover/pooler"
)

// Options are the command line.
type Options struct {
	Version string // as --version prints it
	Daemon  bool
	Quiet   bool
	Verbose int    // added to the verbose setting
	User    string // instead of the user setting
}

// Process is one running pooler with everything around it.
type Process struct {
	cfg    *config.Manager
	logger *logging.Logger
	log    zerolog.Logger
	pooler *pooler.Pooler
	pid    *pidFile
	stop   context.CancelFunc
	ended  chan struct{} // closed when the goroutines of start have ended
	leaves sync.Once     // see stopping
}

// heapFloor, in bytes, is memory that is never touched and so takes none, but counts when the garbage collector decides how much may be
// allocated before it runs again. The live heap of a pooler is so small that it would run dozens of times a second while statements are split
// over shards or clients log in, which was a third of the CPU time. Garbage may take as much memory as this.
const heapFloor = 16 << 20

// Run runs the pooler until it is told to end. The error is for the terminal.
func Run(ctx context.Context, path string, o Options) error {
	if o.Daemon && os.Getenv(childMark) == "" {
		return startInBackground(path)
	}
	if file := os.Getenv("PGDROVER_CPUPROFILE"); file != "" {
		f, err := os.Create(file)
		if err != nil {
			return err
		}
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	signals := catchSignals()
	defer signal.Stop(signals)
	floor := make([]byte, heapFloor)
	defer runtime.KeepAlive(floor)
	p, err := Start(path, o)
	if err != nil {
		return err
	}
	defer p.Close()
	notify(daemon.SdNotifyReady)
	reportReady()
	p.serveSignals(ctx, signals)
	p.stopping() // if it ends at once, nobody has said so yet
	return nil
}

// StartForDemo starts a pooler inside this process. stop ends it.
func StartForDemo(_ context.Context, path string, o Options) (stop func(), err error) {
	o.Quiet = true
	p, err := Start(path, o)
	if err != nil {
		return nil, err
	}
	return p.Close, nil
}

// Start starts a pooler inside this process, accepting connections when it returns. Close must be called.
func Start(path string, o Options) (_ *Process, err error) {
	overrides := []config.Override{}
	if o.User != "" {
		overrides = append(overrides, config.Override{Name: "user", Value: o.User})
	}
	if o.Verbose > 0 {
		overrides = append(overrides, config.Override{Name: "verbose", Value: strconv.Itoa(o.Verbose)})
	}
	mgr, err := config.Open(path, config.Options{Overrides: overrides})
	if err != nil {
		return nil, err
	}
	set := &mgr.Current().Settings
	var logOpts []logging.Option
	if o.Quiet {
		logOpts = append(logOpts, logging.WithStderr(io.Discard))
	}
	inherited, err := activation.Listeners()
	if err != nil {
		return nil, fmt.Errorf("sockets from systemd: %w", err)
	}
	raiseFileLimit()
	procs.Adapt()
	pid, err := writePIDFile(set.PidFile, set.User)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			pid.remove()
		}
	}()
	// Before anything else is opened: what the user may not read or write is found now, not at the first reload.
	if err := becomeUser(set.User); err != nil {
		return nil, err
	}
	logger, err := logging.New(set, logOpts...)
	if err != nil {
		return nil, err
	}
	p := &Process{cfg: mgr, logger: logger, log: logger.Zerolog(), pid: pid, ended: make(chan struct{})}
	defer func() {
		if err != nil {
			_ = logger.Close()
		}
	}()
	if p.pooler, err = pooler.New(pooler.Options{Config: mgr, Log: p.log}); err != nil {
		return nil, err
	}
	p.pooler.SetAdmin(admin.New(console{p.pooler, p}, controller{mgr, p}, admin.Options{Log: p.log, Version: shortVersion(o.Version), DNSHosts: p.dnsHosts}))
	mgr.Subscribe(func(_, next *config.Config) (func(), error) { return logger.Prepare(&next.Settings) })
	mgr.Subscribe(p.pooler.Prepare)
	if err := p.pooler.Start(inherited); err != nil {
		p.pooler.Close()
		return nil, err
	}
	for _, w := range mgr.Warnings() {
		p.log.Warn().Msg(w.String())
	}
	if os.Getuid() == 0 {
		p.log.Warn().Msg("running as root, which pgdrover does not need: start it as another user, or set user (-u)")
	}
	p.log.Info().Msg("process up: pgdrover " + o.Version)
	var ctx context.Context
	ctx, p.stop = context.WithCancel(context.Background())
	go func() {
		defer close(p.ended)
		mgr.Watch(ctx, p.reloaded)
	}()
	return p, nil
}

func shortVersion(v string) string {
	short, _, _ := strings.Cut(v, " ")
	return short
}

// reloaded logs a reload, or why there is none.
func (p *Process) reloaded(r config.Reloaded) {
	with := func(e *zerolog.Event) *zerolog.Event {
		if len(r.Files) > 0 {
			e = e.Str("files", strings.Join(r.Files, ", "))
		}
		return e
	}
	if r.Err != nil {
		with(p.log.Error().Err(r.Err)).Msg("config file loading failed; the old configuration stays in force")
		return
	}
	with(p.log.Info()).Msg("configuration reloaded")
	for _, w := range r.Warnings {
		p.log.Warn().Msg(w.String())
	}
	for _, name := range r.Pending {
		p.log.Warn().Msg(name + " has changed and takes effect after a restart")
	}
}

// controller is the configuration as the admin database has it.
type controller struct {
	*config.Manager
	p *Process
}

// Reload is RELOAD, which as in PgBouncer also opens the log file anew.
func (c controller) Reload(ctx context.Context) error { return c.p.reload(ctx) }

// reload reads the configuration again because somebody has asked for it.
func (p *Process) reload(ctx context.Context) error {
	if err := p.logger.Reopen(); err != nil {
		p.log.Error().Err(err).Msg("reopening the log file failed")
	}
	err := p.cfg.Reload(ctx)
	if ctx.Err() == nil || err == nil {
		p.reloaded(config.Reloaded{Err: err, Warnings: p.cfg.Warnings(), Pending: p.cfg.PendingRestart()})
	}
	return err
}

// console is the pooler as the admin database has it.
type console struct {
	*pooler.Pooler
	p *Process
}

// Shutdown is SHUTDOWN.
func (c console) Shutdown(mode pooler.ShutdownMode) { c.p.shutdown(mode) }

// shutdown begins to shut down, and says so before it waits for anybody.
func (p *Process) shutdown(mode pooler.ShutdownMode) {
	p.stopping()
	p.pooler.Shutdown(mode)
}

// stopping tells systemd once that the process is about to end.
func (p *Process) stopping() { p.leaves.Do(func() { notify(daemon.SdNotifyStopping) }) }

// hangUp is SIGHUP.
func (p *Process) hangUp(ctx context.Context) {
	p.log.Info().Msg("got SIGHUP, re-reading config")
	notify(daemon.SdNotifyReloading + "\nMONOTONIC_USEC=" + strconv.FormatInt(monotonicMicros(), 10))
	defer notify(daemon.SdNotifyReady)
	_ = p.reload(ctx) // which has logged its error
}

func (p *Process) dnsHosts() []admin.DNSHost {
	var out []admin.DNSHost
	for _, e := range p.pooler.DNS() {
		addrs := make([]string, len(e.Addrs))
		for i, a := range e.Addrs {
			addrs[i] = net.JoinHostPort(a.String(), "0")
		}
		out = append(out, admin.DNSHost{Hostname: e.Host, TTL: int64(e.TTL / time.Second), Addrs: strings.Join(addrs, ",")})
	}
	return out
}

// Close ends the pooler at once, whoever is connected.
func (p *Process) Close() {
	p.stop()
	<-p.ended
	p.pooler.Close()
	p.pid.remove()
	p.log.Info().Msg("process down")
	_ = p.logger.Close()
}

// Check validates a configuration and prints what is wrong with it, or with what it would do.
func Check(out io.Writer, path string) error {
	problems, warnings := config.Check(path, pooler.Validate)
	for _, w := range warnings {
		fmt.Fprintln(out, "warning: "+w.String())
	}
	if len(problems) > 0 {
		return problems
	}
	fmt.Fprintln(out, path+": configuration is valid")
	return nil
}

// Health reports whether the pooler of a configuration file accepts connections: it opens one and asks for TLS,
// which every state of the pooler answers.
func Health(ctx context.Context, args []string) error {
	network, addr := "tcp", "127.0.0.1:6432"
	if len(args) == 1 {
		cfg, _, err := config.Load(args[0])
		if err != nil {
			return err
		}
		host, _, _ := strings.Cut(cfg.ListenAddr, ",")
		switch host = strings.TrimSpace(host); host {
		case "":
			network, addr = "unix", filepath.Join(cfg.UnixSocketDir, ".s.PGSQL."+strconv.Itoa(cfg.ListenPort))
		case "*", "0.0.0.0", "::":
			addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(cfg.ListenPort))
		default:
			addr = net.JoinHostPort(host, strconv.Itoa(cfg.ListenPort))
		}
	}
	d := net.Dialer{Timeout: 3 * time.Second}
	nc, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return err
	}
	defer func() { _ = nc.Close() }()
	if err := nc.SetDeadline(time.Now().Add(3 * time.Second)); err != nil {
		return err
	}
	if _, err := nc.Write([]byte{0, 0, 0, 8, 4, 210, 22, 47}); err != nil { // SSLRequest
		return err
	}
	var answer [1]byte
	if _, err := io.ReadFull(nc, answer[:]); err != nil {
		return fmt.Errorf("%s accepts connections but does not answer: %w", addr, err)
	}
	if answer[0] != 'S' && answer[0] != 'N' {
		return errors.New(addr + " is not a PostgreSQL pooler")
	}
	return nil
}

// notify tells systemd, where there is one.
func notify(state string) { _, _ = daemon.SdNotify(false, state) }

// Pooler returns the data plane.
func (p *Process) Pooler() *pooler.Pooler { return p.pooler }
