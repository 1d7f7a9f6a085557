/* SPDX-License-Identifier: Apache-2.0 */
/*
 * coord.pml - charge, reclaim, grant, answer and death, as core/coord_ledger.c, coord_grant.c,
 * coord_wait.c, coord_control.c and the agent's turn do them, for three processes on a device of PAGES pages, one of which may be
 * killed between any two stores.
 *
 * Every process has two threads: one that works (takes a page, asks the others if there is none, goes
 * idle) and the agent (answers requests). What lies in the segment is global and changes one store at a
 * time. The driver takes the pages of the dead back by itself: held[] of a dead process is 0. The
 * process's own mutex is inner[], the segment's robust one is owner.
 *
 * Checked: the sum of what is charged and granted never exceeds the device, nor does the sum of what is
 * held; what is given while its asker waits is that one's (nobody else is charged with it);
 * nobody holds more than it is charged with; there is no deadlock, whoever dies and whatever it held; no
 * request of a living process stays without an answer; no page is lost: in the end what is charged is
 * what is held.
 *
 * A turn of a wait may end at any moment, which covers every length of a time-out, and whatever wakes who
 * waits: the futex word that changes when something is freed only makes it look sooner.
 *
 * A grant of one who does not take it (it is stopped) may end whenever somebody looks, which covers every
 * length of time.
 *
 * BROKEN=1 to 7 put mistakes in, to see that the checks can fail: 1 charges after the page was
 * created, 2 does not repair what the dead have left, 3 sweeps slots but leaves accounts as they are,
 * 4 gives the charge back before the driver has the page back (seen by who looks twice: TURNS=2),
 * 5 looks and charges without the mutex, 6 does not count grants as charged, 7 leaves the grants of the
 * dead as they are.
 */
#ifndef BROKEN
#define BROKEN 0
#endif
#define N 3
#ifndef PAGES
#define PAGES 2 /* with 1 there are two who compete for what the third gives */
#endif
#ifndef ROUNDS
#define ROUNDS 1 /* pages that each worker wants, one after the other */
#endif
#ifndef TURNS
#define TURNS 2 /* of one wait */
#endif
#define NOBODY 3

#define ME ((_pid - 1) % N) /* pid 0 is init, then N workers, then N agents */
#define SUM(a) (a[0] + a[1] + a[2])

#define CHARGE \
	d_step { charged[ME] = charged[ME] + 1; assert(SUM(charged) + SUM(granted) <= PAGES) }

byte charged[N]; /* of each account, in the segment */
byte held[N];    /* pages that the driver has given out */
bit used[N];     /* the slot is taken, in the segment */
bit asked[N];    /* a reclaim is pending, in the segment */
byte granted[N]; /* given up for this one by others, in the segment */
bit waits[N];    /* it waits for a page, and has asked the others, in the segment */
bit alive[N];
bit idle[N];
bit inner[N];    /* the mutex of the ledger in each process */
byte owner = NOBODY;
bit ended[N];    /* the worker has done what it wanted */

/* kv_coord_sweep(): the slot first, then its account */
inline sweep(j)
{
	j = 0;
	do
	:: j < N && used[j] && !alive[j] ->
		used[j] = 0;
		if
		:: BROKEN != 3 -> charged[j] = 0
		:: else -> skip
		fi;
		if
		:: BROKEN != 7 -> granted[j] = 0
		:: else -> skip
		fi;
		waits[j] = 0;
		asked[j] = 0;
		j++
	:: j < N && (!used[j] || alive[j]) -> j++
	:: j == N -> j = 0; break
	od
}

/* repair(): a sweep, and the accounts of slots that were half freed */
inline repair(j)
{
	sweep(j);
	do
	:: j < N && !used[j] && BROKEN != 3 ->
		charged[j] = 0;
		if
		:: BROKEN != 7 -> granted[j] = 0
		:: else -> skip
		fi;
		j++
	:: j < N && (used[j] || BROKEN == 3) -> j++
	:: j == N -> j = 0; break
	od
}

inline lock(j)
{
	if
	:: BROKEN == 5 -> skip
	:: BROKEN != 5 -> take(j)
	fi
}

inline take(j)
{
	if
	:: atomic { owner == NOBODY -> owner = ME }
	:: atomic { owner != NOBODY && !alive[owner] -> owner = ME };
		if
		:: BROKEN != 2 -> repair(j)
		:: else -> skip
		fi
	fi
}

inline unlock()
{
	owner = NOBODY
}

#define STALE(i) (granted[i] && i != ME && (late || !waits[i] || !alive[i]))

/*
 * kv_coord_grant_expire(): of those who wait no more, or (late) have not taken it in time. Grants
 * change under the mutex only, so that one step stands for three stores.
 */
inline expire(late)
{
	if
	:: BROKEN != 7 && (granted[0] || granted[1] || granted[2]) ->
		atomic {
			if
			:: late = 0
			:: late = 1
			fi;
			d_step {
				if
				:: STALE(0) -> granted[0] = 0
				:: else -> skip
				fi;
				if
				:: STALE(1) -> granted[1] = 0
				:: else -> skip
				fi;
				if
				:: STALE(2) -> granted[2] = 0
				:: else -> skip
				fi;
				late = 0
			}
		}
	:: else -> skip
	fi
}

#define COUNTED (BROKEN == 6 -> 0 : SUM(granted))

/* The sum over the accounts as it is made under the mutex: one load after the other of what can fall
 * without it. */
inline read_sum(s)
{
	expire(late);
	s = charged[0] + COUNTED;
	s = s + charged[1];
	s = s + charged[2]
}

/* kv_coord_grant_give(): one page to the first who waits for one. First the charge falls, then the
 * grant rises; whoever dies in between leaves the page to all. */
inline give_to(i)
{
	waits[i] && used[i] && !granted[i] && i != ME ->
		charged[ME] = charged[ME] - 1;
		d_step { granted[i] = 1; assert(SUM(charged) + SUM(granted) <= PAGES) }
}

proctype Worker() provided (alive[(_pid - 1) % N])
{
	byte i = 0, j = 0, k = 0, s = 0;
	bit got = 0, more = 0, late = 0;

	do
	:: i == ROUNDS -> break
	:: i < ROUNDS ->
		idle[ME] = 0;
		/* ledger_charge() */
		atomic { !inner[ME] -> inner[ME] = 1 };
		got = 0;
		if
		:: charged[ME] > held[ME] -> got = 1
		:: else ->
			lock(j);
			read_sum(s);
			if
			:: s < PAGES && BROKEN != 1 -> CHARGE; got = 1
			:: s < PAGES && BROKEN == 1 -> got = 1
			:: s >= PAGES -> skip
			fi;
			unlock()
		fi;
		k = 0;
		if
		:: !got -> waits[ME] = 1
		:: else -> skip
		fi;
		do
		:: got || k == TURNS -> break
		:: !got && k < TURNS ->
			/* kv_coord_wait_look() */
			lock(j);
			if
			:: BROKEN != 2 -> sweep(j)
			:: else -> skip
			fi;
			more = 0;
			/* kv_coord_grant_take() */
			if
			:: granted[ME] ->
				granted[ME] = 0;
				charged[ME] = charged[ME] + 1;
				got = 1
			:: else -> skip
			fi;
			read_sum(s);
			if
			:: got -> skip
			:: !got && s < PAGES -> CHARGE; got = 1
			:: !got && s >= PAGES ->
				do
				:: j < N ->
					if
					:: j != ME && used[j] && idle[j] && charged[j] > 0 ->
						asked[j] = 1;
						more = 1
					:: else -> skip
					fi;
					j++
				:: j == N -> j = 0; break
				od
			fi;
			unlock();
			inner[ME] = 0;
			/* kv_coord_wait_sleep() */
			atomic { !inner[ME] -> inner[ME] = 1 };
			k = (more || got -> k + 1 : TURNS)
		od;
		/* end_wait() without the mutex: what was granted at the last moment is lost */
		waits[ME] = 0;
		if
		:: got ->
			/* The driver gives it out, then the account says so. */
			assert(BROKEN == 1 || charged[ME] > held[ME]);
			d_step { assert(SUM(held) < PAGES); held[ME] = held[ME] + 1 };
			if
			:: BROKEN == 1 -> CHARGE
			:: else -> skip
			fi
		:: else -> skip /* spilled: without a page of the device */
		fi;
		inner[ME] = 0;
		idle[ME] = 1;
		i++
	od;
	ended[ME] = 1
}

/* Gives what is idle, answers. Lives as long as its process. */
proctype Agent() provided (alive[(_pid - 1) % N])
{
	byte j = 0;

end_agent:
	do
	:: asked[ME] ->
		/* kv_space_give(): the gate is closed meanwhile, so that the worker is not at work */
		atomic { !inner[ME] -> inner[ME] = 1 };
		if
		:: idle[ME] && held[ME] > 0 && BROKEN != 4 ->
			held[ME] = held[ME] - 1;
			/* lower(): first what is held, then what is charged; to who waits, under the
			 * segment's mutex, or, if that is not to be had, to all, without it */
			if
			:: waits[0] || waits[1] || waits[2] ->
				lock(j);
				if
				:: give_to(0)
				:: give_to(1)
				:: give_to(2)
				:: else -> skip
				fi;
				unlock()
			:: true -> skip
			fi;
			charged[ME] = held[ME]
		:: idle[ME] && held[ME] > 0 && BROKEN == 4 ->
			charged[ME] = held[ME] - 1;
			held[ME] = held[ME] - 1
		:: else -> skip
		fi;
		inner[ME] = 0;
		asked[ME] = 0
	od
}

/* One of them, at any moment, or none. The driver has its pages back before anybody sees it dead. */
proctype Death()
{
	byte who;

	select (who : 0 .. N);
	if
	:: who < N ->
		atomic {
			alive[who] = 0;
			held[who] = 0
		}
	:: else -> skip
	fi
}

#define QUIET(i) (!alive[i] || (ended[i] && !asked[i] && !inner[i]))

init
{
	byte i = 0, j = 0;

	atomic {
		do
		:: i < N -> used[i] = 1; alive[i] = 1; idle[i] = 1; i++
		:: i == N -> break
		od;
		run Worker(); run Worker(); run Worker();
		run Agent(); run Agent(); run Agent();
		run Death()
	}
	/* All that live have done what they wanted, every request is answered, and no mutex is held by
	 * one who lives. If nothing can move before that, it is a deadlock (dead processes stand still
	 * wherever they are, which is no deadlock: pan runs with -E). */
	if
	:: QUIET(0) && QUIET(1) && QUIET(2) && (owner == NOBODY || !alive[owner]) -> skip
	:: timeout -> assert(false)
	fi;
	/* The next one who takes the mutex finds everything in order: no page is lost. */
	atomic {
		if
		:: BROKEN != 2 -> repair(j)
		:: else -> skip
		fi;
		do
		:: j < N ->
			assert(alive[j] || (charged[j] == 0 && granted[j] == 0));
			assert(waits[j] == 0);
			assert(!alive[j] || charged[j] == held[j]);
			j++
		:: j == N -> break
		od
	}
}
