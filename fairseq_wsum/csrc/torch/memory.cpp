// Memory of tensors on the CPU that are freed stays with the process, for the next ones.
//
// torch takes tensors from the C library, which takes large ones from the system, and gives them back
// when they are freed. In the next step of a training the system has to find the same pages again
// and fill them with zeros. Here they are kept, as torch itself does on GPUs.
//
// The one file that needs torch's headers, so it is a library of its own (see setup.py).
#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/alloc_cpu.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <cstdint>
#include <cstdlib>
#include <iterator>
#include <list>
#include <map>
#include <mutex>
#include <string>
#include <unordered_map>

namespace {

constexpr size_t SMALL = size_t{1} << 16;  // bytes; the C library is good at less than that
constexpr size_t HUGE_PAGE = size_t{1} << 21;

// torch itself asks for huge pages only where this variable says so; here they are asked for unless
// it is 0, as what is kept is worth it.
bool huge_pages_wanted() {
    const char* value = std::getenv("THP_MEM_ALLOC_ENABLE");
    return !value || std::string(value) != "0";
}

struct Block {
    void* data;
    size_t size;
};

class KeepingAllocator final : public c10::Allocator {
public:
    explicit KeepingAllocator(c10::Allocator* other) : other_(other) {}

    // (Small tensors carry torch's deleter, not ours, which would hand them on to it.)
    c10::DataPtr allocate(size_t bytes) override {
        if (bytes < SMALL || bytes > PTRDIFF_MAX) return other_->allocate(bytes);
        void* data = take(rounded(bytes));
        c10::DataPtr pointer{data, data, raw_deleter(), c10::Device(c10::DeviceType::CPU)};
        c10::profiledCPUMemoryReporter().New(data, bytes);
        return pointer;
    }

    c10::DeleterFnPtr raw_deleter() const override;

    void copy_data(void* to, const void* from, size_t bytes) const override {
        default_copy_data(to, from, bytes);
    }

    void free(void* data) {
        if (give_back(data)) return;
        other_->raw_deleter()(data);  // small, or from the time before
    }

    // Bytes of blocks: of tensors, kept for others, and the most that tensors have had at once.
    void count(int64_t* used, int64_t* kept, int64_t* peak) {
        const std::lock_guard<std::mutex> guard(mutex_);
        *used = static_cast<int64_t>(used_);
        *kept = static_cast<int64_t>(kept_);
        *peak = static_cast<int64_t>(peak_);
    }

    // No other thread is within while the process forks; and nothing is kept, or every page of it
    // would be there twice as soon as this process writes to it.
    void before_fork() {
        mutex_.lock();
        release_all();
    }
    void after_fork() { mutex_.unlock(); }

   private:
    using Blocks = std::list<Block>;  // of those that are kept, the one freed first at the front

    // Sizes of two batches are seldom the same, and often near to each other: eight sizes for each
    // power of two.
    static size_t rounded(size_t bytes) {
        size_t step = SMALL / 8;
        while (step * 16 <= bytes) step *= 2;
        return (bytes + step - 1) / step * step;
    }

    // May throw what torch throws where there is no memory.
    void* take(size_t size) {
        const std::lock_guard<std::mutex> guard(mutex_);
        Block block{nullptr, size};
        const auto found = by_size_.lower_bound(size);
        if (found != by_size_.end() && found->first <= size + size / 4) {
            // of those of the same size the one freed last, which may still be in the caches
            const auto last = std::prev(by_size_.upper_bound(found->first));
            block = *last->second;
            forget(last);
        } else {
            // never more than half above the blocks that tensors have had at once
            const size_t peak = std::max(peak_, used_ + size);
            while (kept_ && used_ + size + kept_ > peak + peak / 2) release_oldest();
            block.data = from_system(size);
        }
        in_use_.emplace(block.data, block.size);
        used_ += block.size;
        peak_ = std::max(peak_, used_);
        return block.data;
    }

    void* from_system(size_t size) {
        void* data;
        try {
            data = c10::alloc_cpu(size);
        } catch (...) {
            if (!kept_) throw;
            release_all();
            data = c10::alloc_cpu(size);
        }
#ifdef MADV_HUGEPAGE
        if (huge_pages_ && size >= HUGE_PAGE) {  // a request: whether it is met does not matter
            const uintptr_t first = reinterpret_cast<uintptr_t>(data);
            const uintptr_t page = first / page_size_ * page_size_;
            madvise(reinterpret_cast<void*>(page), first + size - page, MADV_HUGEPAGE);
        }
#endif
        return data;
    }

    bool give_back(void* data) {
        const std::lock_guard<std::mutex> guard(mutex_);
        const auto found = in_use_.find(data);
        if (found == in_use_.end()) return false;
        c10::profiledCPUMemoryReporter().Delete(data);
        const Block block{data, found->second};
        in_use_.erase(found);
        used_ -= block.size;
        kept_ += block.size;
        by_age_.push_back(block);
        by_size_.emplace(block.size, std::prev(by_age_.end()));
        return true;
    }

    void release_oldest() {
        const Block oldest = by_age_.front();
        const auto first = by_size_.lower_bound(oldest.size);
        assert(first->second == by_age_.begin());  // equal sizes stand in the order of their age
        forget(first);
        c10::free_cpu(oldest.data);
    }

    void release_all() {
        while (kept_) release_oldest();
    }

    void forget(std::multimap<size_t, Blocks::iterator>::iterator place) {
        kept_ -= place->first;
        by_age_.erase(place->second);
        by_size_.erase(place);
    }

    c10::Allocator* const other_;
    const bool huge_pages_ = huge_pages_wanted();
    const uintptr_t page_size_ = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
    std::mutex mutex_;
    std::unordered_map<void*, size_t> in_use_;
    Blocks by_age_;
    std::multimap<size_t, Blocks::iterator> by_size_;
    size_t used_ = 0, kept_ = 0, peak_ = 0;
};

KeepingAllocator* allocator = nullptr;  // never deleted: tensors may outlive everything else

void free_memory(void* data) { allocator->free(data); }

c10::DeleterFnPtr KeepingAllocator::raw_deleter() const { return &free_memory; }

}  // namespace

extern "C" {

// The torch that this was built for. It serves no other.
const char* wsum_memory_torch() { return WSUM_TORCH; }

// From now on, for good.
void wsum_memory_keep() {
    static std::once_flag once;
    std::call_once(once, [] {
        allocator = new KeepingAllocator(c10::GetCPUAllocator());
        pthread_atfork([] { allocator->before_fork(); }, [] { allocator->after_fork(); },
                       [] { allocator->after_fork(); });
        c10::SetCPUAllocator(allocator);
    });
}

void wsum_memory_count(int64_t* used, int64_t* kept, int64_t* peak) {
    *used = *kept = *peak = 0;
    if (allocator) allocator->count(used, kept, peak);
}
}
