#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Generates what the software driver exports, from the toolkit's own headers.

usage: gen_api.py PREPROCESSED_HEADERS OUT_DIR SOURCE...

PREPROCESSED_HEADERS: cuda.h, cudaTypedefs.h and friends after the preprocessor, with every version of
every entry point visible. SOURCE: files that define `CUresult sim_cuXxx(...)`; each such definition implements
the exported name cuXxx and, if it has the same parameters, cuXxx_ptsz or cuXxx_ptds.

Writes api_protos.h (prototypes of the sim_ functions, entry numbers), api_exports.c (the exported
functions: a thin frame around an implementation, or a stub) and api_procs.c (the table behind
cuGetProcAddress: name, version, per-thread or not, address).
"""
import re
import sys
from fnmatch import fnmatchcase

# Entry points that work before cuInit, and in a context that is lost.
NO_INIT = ['cuInit', 'cuDriverGetVersion', 'cuGetProcAddress*', 'cuGetErrorString', 'cuGetErrorName',
           'cuGetExportTable', 'cuThreadExchangeStreamCaptureMode']
# Entry points that need no current context.
NO_CONTEXT = NO_INIT + [
    'cuDevice*', 'cuCtxCreate*', 'cuCtxDestroy*', 'cuCtxPush*', 'cuCtxPop*', 'cuCtxSetCurrent',
    'cuCtxGetCurrent', 'cuCtxGetApiVersion', 'cuCtxGetId', 'cuCtxGetDevice*', 'cuCtxSynchronize*',
    'cuMemAddress*', 'cuMemCreate', 'cuMemRelease', 'cuMemMap', 'cuMemUnmap', 'cuMemSetAccess',
    'cuMemGetAccess', 'cuMemGetAllocation*', 'cuMemRetain*', 'cuMemExport*', 'cuMemImport*',
    'cuMemPool*', 'cuMemGetDefaultMemPool', 'cuMemGetMemPool', 'cuMemSetMemPool', 'cuLibrary*',
    'cuKernel*', 'cuPointerGetAttribute*', 'cuGraph*', 'cuEventDestroy*', 'cuStreamDestroy*',
    'cuUserObject*', 'cuModuleGetLoadingMode', 'cuFuncGetParamInfo', 'cuFuncGetName', 'cuFuncGetModule',
    'cuFuncGetAttribute', 'cuFuncIsLoaded', 'cuStreamGetCaptureInfo*', 'cuStreamIsCapturing*']
# What still answers in a context that is lost (sticky error).
NO_STICKY = NO_INIT + [
    'cuDeviceGet*', 'cuDeviceTotalMem*', 'cuDevicePrimaryCtx*', 'cuCtxCreate*', 'cuCtxDestroy*',
    'cuCtxPush*', 'cuCtxPop*', 'cuCtxSetCurrent', 'cuCtxGetCurrent', 'cuCtxGetDevice*']
# "Potentially unsafe" while a stream is being captured: refused with 900 unless the thread is relaxed.
UNSAFE = ['cuMemAlloc_v2', 'cuMemAlloc', 'cuMemAllocPitch*', 'cuMemAllocManaged', 'cuMemAllocHost*',
          'cuMemHostAlloc', 'cuMemHostRegister*', 'cuMemHostUnregister', 'cuMemFree_v2', 'cuMemFree',
          'cuMemFreeHost', 'cuCtxSynchronize*', 'cuEventQuery', 'cuEventSynchronize', 'cuStreamQuery*',
          'cuStreamSynchronize*', 'cuMemPoolGetAttribute', 'cuMemPoolCreate', 'cuMemPoolDestroy',
          'cuMemPoolTrimTo', 'cuModuleLoad*', 'cuModuleUnload', 'cuMemcpy', 'cuMemcpy_ptds',
          'cuMemcpy?toD_v2*', 'cuMemcpyDtoH_v2*', 'cuMemcpyPeer', 'cuMemcpyPeer_ptds', 'cuMemcpy2D_v2*',
          'cuMemcpy2DUnaligned_v2*', 'cuMemcpy3D_v2*', 'cuMemcpy3DPeer', 'cuMemcpy3DPeer_ptds',
          'cuMemsetD8_v2*', 'cuMemsetD16_v2*', 'cuMemsetD32_v2*', 'cuMemsetD2D8_v2*',
          'cuMemsetD2D16_v2*', 'cuMemsetD2D32_v2*', 'cuIpcGetMemHandle', 'cuIpcOpenMemHandle*']
# The same, if SIMGPU_UNSAFE_VMM is set: whether the driver checks these is not documented.
UNSAFE_VMM = ['cuMemAddress*', 'cuMemCreate', 'cuMemRelease', 'cuMemMap', 'cuMemUnmap', 'cuMemSetAccess']

# The k-th version of a name in cudaTypedefs.h is the k-th suffix in cuda.h, but here it is not.
VERSIONS = {
    ('cuGraphInstantiate', 12000): 'cuGraphInstantiateWithFlags',
}


def matches(name, patterns):
    return any(fnmatchcase(name, p) for p in patterns)


def split_params(text):
    text = text.strip()
    if text in ('', 'void'):
        return []
    out, depth, cur = [], 0, ''
    for c in text:
        if c == ',' and not depth:
            out.append(cur.strip())
            cur = ''
            continue
        depth += (c == '(') - (c == ')')
        cur += c
    return out + [cur.strip()]


def name_param(param, i):
    """Gives the parameter the name p<i>: (declaration, name)."""
    m = re.match(r'(.*?)(\w+) ?((?:\[[^\]]*\])?)$', param)
    typ, array = m.group(1).strip(), m.group(3)
    if not typ or m.group(2) in ('int', 'long', 'char'):  # no name was given
        typ, array = param, ''
    if array:
        typ += ' *'
    return f'{typ} p{i}', f'p{i}'


def suffix_rank(name, base):
    m = re.fullmatch(re.escape(base) + r'(?:_v(\d+))?', name)
    return int(m.group(1) or 1) if m else None


def main():
    text = re.sub(r'\s+', ' ', re.sub(r'^#.*$', '', open(sys.argv[1]).read(), flags=re.M))
    out = sys.argv[2]
    protos = dict(re.findall(r'CUresult (cu[A-Z]\w*) ?\(([^()]*(?:\([^()]*\)[^()]*)*)\);', text))
    names = sorted(protos)
    typedefs = re.findall(r'\*PFN_(cu\w+?)_v(\d+)(_ptsz|_ptds)?\)', text)
    done = set()
    for path in sys.argv[3:]:
        done |= set(re.findall(r'^CUresult sim_(cu\w+)\(', open(path).read(), flags=re.M))
    unknown = sorted(n for n in done if n not in protos)
    if unknown:
        sys.exit('not an entry point: ' + ' '.join(unknown))

    head = '/* Generated by gen_api.py. */\n'
    with open(f'{out}/api_protos.h', 'w') as f:
        f.write(head + '#ifndef SIM_API_PROTOS_H\n#define SIM_API_PROTOS_H\n')
        f.write('#include "internal.h"\n')
        f.write(f'#define SIM_ENTRIES {len(names)}\n')
        for i, n in enumerate(names):
            f.write(f'#define SIM_FN_{n} {i}\n')
        for n in sorted(done):
            f.write(f'CUresult sim_{n}({protos[n]});\n')
        f.write('#endif\n')

    with open(f'{out}/api_exports.c', 'w') as f:
        f.write(head + '#include "api_protos.h"\n#include "entry.h"\n')
        f.write('const struct sim_entry sim_entries[SIM_ENTRIES + 1] = {\n')
        for n in names:
            flags = []
            if matches(n, NO_INIT):
                flags.append('SIM_NO_INIT')
            if matches(n, NO_CONTEXT):
                flags.append('SIM_NO_CONTEXT')
            if matches(n, NO_STICKY):
                flags.append('SIM_NO_STICKY')
            if matches(n, UNSAFE):
                flags.append('SIM_UNSAFE')
            if matches(n, UNSAFE_VMM):
                flags.append('SIM_UNSAFE_VMM')
            if re.search(r'_pt[sd][sz]$', n):
                flags.append('SIM_PER_THREAD')
            f.write(f'\t{{"{n}", {" | ".join(flags) or 0}}},\n')
        f.write('\t{0},\n};\n')
        for n in names:
            params = [name_param(p, i) for i, p in enumerate(split_params(protos[n]))]
            decl = ', '.join(d for d, _ in params) or 'void'
            args = ', '.join(a for _, a in params)
            base = re.sub(r'_pt[sd][sz]$', '', n)
            impl = n if n in done else base if base in done else None
            f.write(f'\nSIM_EXPORT CUresult {n}({decl})\n{{\n')
            if impl:
                f.write(f'\tSIM_FRAME({n}, sim_{impl}({args}));\n}}\n')
            else:
                f.write(f'\tSIM_STUB({n});\n}}\n')

    versions = {}
    for base, version, thread in typedefs:
        versions.setdefault((base, thread), set()).add(int(version))
    for base, version in VERSIONS:
        versions[(base, '')].add(version)
    rows = []
    for (base, thread), found in sorted(versions.items()):
        plain = sorted(versions.get((base, ''), found) | found)
        exported = sorted((n for n in names if suffix_rank(n, base)), key=lambda n: suffix_rank(n, base))
        for version in sorted(found):
            name = VERSIONS.get((base, version))
            if not name:
                k = plain.index(version)
                if thread and (base, '') in versions:
                    # The per-thread variant of an ABI came later than the ABI: count from the newest.
                    k = None
                    legacy = sorted(versions[(base, '')])
                    k = max(i for i, v in enumerate(legacy) if v <= version)
                name = exported[min(k, len(exported) - 1)] if exported else base
            if thread:
                name += thread
            if name not in protos:
                if not thread:
                    sys.exit(f'no export for {base} {version} ({name})')
                continue
            rows.append((base, version, 1 if thread else 0, name))
    with open(f'{out}/api_procs.c', 'w') as f:
        f.write(head + '#include "api_protos.h"\n#include "entry.h"\n')
        f.write('const struct sim_proc sim_procs[] = {\n')
        for base, version, thread, name in rows:
            f.write(f'\t{{"{base}", {version}, {thread}, (void *)(CUresult (*)({protos[name]})){name}}},\n')
        f.write('};\nconst unsigned sim_n_procs = sizeof(sim_procs) / sizeof(sim_procs[0]);\n')


main()
